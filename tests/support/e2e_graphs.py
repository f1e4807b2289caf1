"""Models for end-to-end tests: graph.pbtxt files and their entries in config.json."""

import json
from pathlib import Path

ONE_NODE_GRAPH = """
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node: {{
  name: "LLMExecutor"
  calculator: "HttpLLMCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "LLM_NODE_RESOURCES:llm"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info: {{ tag_index: 'LOOPBACK:0', back_edge: true }}
  node_options: {{
    [type.googleapis.com / mediapipe.LLMCalculatorOptions]: {{
      models_path: "{models_path}",
      plugin_config: '{{"KV_CACHE_PRECISION": "u8"}}',
      enable_prefix_caching: true,
      {options}
    }}
  }}
  input_stream_handler {{
    input_stream_handler: "SyncSetInputStreamHandler",
    options {{
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] {{
        sync_set {{ tag_index: "LOOPBACK:0" }}
      }}
    }}
  }}
}}
"""


def write_model(repository: Path, name: str, graph: str) -> None:
    """Add a model with that graph.pbtxt to a repository and its config.json."""
    folder = repository / name
    folder.mkdir(parents=True)
    (folder / "graph.pbtxt").write_text(graph)
    add_to_config(repository, name)


def add_to_config(repository: Path, name: str) -> None:
    """List the model of that name in config.json."""
    path = repository / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {"model_config_list": []}
    config["model_config_list"].append({"config": {"name": name}})
    path.write_text(json.dumps(config))
