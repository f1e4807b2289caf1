#!/bin/sh
# Serve the bundled model as precisely as OpenVINO computes: f32 weights, activations and KV cache.
set -e
cd "$(dirname "$0")/../.."
.venv/bin/export_model text_generation --source_model demos/tiny_chat/model \
    --model_name tiny_chat_fp32 --weight-format fp32 \
    --model_repository_path models --config_file_path models/config_fp32.json
properties='{"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}'
sed -i "s/plugin_config: .*/plugin_config: '$properties'/" models/tiny_chat_fp32/graph.pbtxt
exec .venv/bin/server --config_path models/config_fp32.json --rest_port "${1:-8000}"
