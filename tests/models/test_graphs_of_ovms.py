"""Graphs as OpenVINO Model Server's exporter and documentation write them load unchanged."""

from pathlib import Path

import pytest
from support.speech_graphs import SPEECH2TEXT, TEXT2SPEECH

from server.cli.check import check_models
from server.models.config import single_model_config

BUNDLED = Path(__file__).parents[2] / "server" / "bundled_models"

ENCODER = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "REQUEST_PAYLOAD:input"
output_stream: "RESPONSE_PAYLOAD:output"
node {
  name: "%(name)sExecutor"
  input_side_packet: "%(packet)s"
  calculator: "%(name)sCalculatorOV"
  input_stream: "REQUEST_PAYLOAD:input"
  output_stream: "RESPONSE_PAYLOAD:output"
  node_options: {
    [type.googleapis.com / mediapipe.%(name)sCalculatorOVOptions]: {
      models_path: "%(folder)s",
      plugin_config: '{"NUM_STREAMS": "1" }',
      %(options)s
      target_device: "CPU"
    }
  }
}
"""
EMBEDDINGS = {"name": "Embeddings", "packet": "EMBEDDINGS_NODE_RESOURCES:embeddings_servable"}
RERANK = {"name": "Rerank", "packet": "RERANK_NODE_RESOURCES:rerank_servable"}

IMAGES = """input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node: {
  name: "ImageGenExecutor"
  calculator: "ImageGenCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {
    [type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {
      models_path: "%s",
      device: "CPU",
      %s
    }
  }
}"""

TEXT = """input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node: {
  name: "LLMExecutor"
  calculator: "HttpLLMCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "LLM_NODE_RESOURCES:llm"
  input_side_packet: "LLM_NODE_EXECUTION_CONTEXTS:llm_ctx"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info: {
    tag_index: 'LOOPBACK:0',
    back_edge: true
  }
  node_options: {
      [type.googleapis.com / mediapipe.LLMCalculatorOptions]: {
          pipeline_type: LM_CB,
          models_path: "%s",
          plugin_config: '{"KV_CACHE_PRECISION": "u8"}',
          enable_prefix_caching:  true,
          cache_size: 1,
          dynamic_split_fuse: false,
          max_num_seqs: 256,
          device: "CPU",
          %s
      }
  }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler",
    options {
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
        sync_set {
          tag_index: "LOOPBACK:0"
        }
      }
    }
  }
}"""


def problems(folder: Path, graph: str) -> int:
    """What `server --check` counts in a folder with that graph.pbtxt."""
    (folder / "graph.pbtxt").write_text(graph)
    return check_models(single_model_config("m", folder))


@pytest.mark.parametrize("options", ["", 'tool_parser: "hermes3",', "max_tokens_limit: 4096,"])
def test_text_generation(options: str, tmp_path: Path) -> None:
    assert problems(tmp_path, TEXT % (BUNDLED / "tiny_chat", options)) == 0


@pytest.mark.parametrize(
    ("kind", "model", "options"),
    [
        (EMBEDDINGS, "tiny_embedder", "normalize_embeddings: true,"),
        (
            EMBEDDINGS,
            "tiny_embedder",
            "normalize_embeddings: false, pooling: MEAN, truncate: true,",
        ),
        (RERANK, "tiny_reranker", ""),
        (RERANK, "tiny_reranker", "max_allowed_chunks: 50,"),
    ],
)
def test_encoders(kind: dict[str, str], model: str, options: str, tmp_path: Path) -> None:
    graph = ENCODER % {**kind, "folder": BUNDLED / model, "options": options}
    assert problems(tmp_path, graph) == 0


@pytest.mark.parametrize(
    "options",
    [
        "",
        "max_resolution: '256x256', default_resolution: '64x64',",
        'resolution: "64x64", num_images_per_prompt: 2, guidance_scale: 7.5',
        "max_num_images_per_prompt: 4, default_num_inference_steps: 2, "
        "max_num_inference_steps: 50,",
        "plugin_config: '{\"NUM_STREAMS\": 1}',",
    ],
)
def test_image_generation(options: str, sd_model: Path, tmp_path: Path) -> None:
    assert problems(tmp_path, IMAGES % (sd_model, options)) == 0


@pytest.mark.parametrize("words", ["true", "false"])
def test_speech2text(words: str, speech_models: Path, tmp_path: Path) -> None:
    graph = SPEECH2TEXT.format(models_path=speech_models / "whisper", options="", words=words)
    assert problems(tmp_path, graph) == 0


@pytest.mark.parametrize(
    "voices",
    [
        "",
        'voices: [ { name: "a", path: "a.bin" }, { name: "b", path: "a.bin" } ]',
        'voices: [ { name: "a", path: "a.bin", } ],',
        'voices { name: "a" path: "a.bin" } voices { name: "b", path: "a.bin" },',
    ],
)
def test_text2speech(voices: str, speech_models: Path, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(512 * 4))
    graph = TEXT2SPEECH.format(models_path=speech_models / "speecht5", options=voices)
    assert problems(tmp_path, graph) == 0
