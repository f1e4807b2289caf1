"""The bundled model, really exported, in a repository with several graphs; and a server on it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_names import SMALL_BLOCKS
from server_process import ROOT, ServerProcess, server_process

SOURCE = ROOT / "demos" / "tiny_chat" / "model"
CACHE = ROOT / "build" / "test_models"

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
    path = repository / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {"model_config_list": []}
    config["model_config_list"].append({"config": {"name": name}})
    path.write_text(json.dumps(config))


@pytest.fixture(scope="session")
def chat_model() -> Path:
    """Folder of the bundled model, exported once by the real command: int8 weights, u8 KV cache."""
    state = hashlib.sha256()
    for path in sorted([*SOURCE.iterdir(), *(ROOT / "export_models").glob("*.py")]):
        state.update(path.read_bytes())
    repository = CACHE / state.hexdigest()[:16]
    command = [sys.executable, "-m", "export_models.export_model", "text_generation"]
    command += ["--source_model", str(SOURCE), "--model_name", "tiny_chat"]
    command += ["--weight-format", "int8", "--kv_cache_precision", "u8"]
    command += ["--model_repository_path", str(repository)]
    command += ["--config_file_path", str(repository / "config.json")]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return repository / "tiny_chat"


@pytest.fixture(scope="session")
def repository(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_chat` (three nodes), `one_node` (OVMS's form) and `small` (few blocks) in a config."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "tiny_chat").symlink_to(chat_model)
    add_to_config(folder, "tiny_chat")
    write_model(folder, "one_node", ONE_NODE_GRAPH.format(models_path=chat_model, options=""))
    small = ONE_NODE_GRAPH.format(
        models_path=chat_model, options=f"num_kv_blocks: {SMALL_BLOCKS}, max_num_seqs: 16"
    )
    write_model(folder, "small", small)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server with all three models."""
    with server_process("--config_path", repository / "config.json") as process:
        yield process
