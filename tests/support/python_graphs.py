"""Graphs with Python nodes in OpenVINO Model Server's form, and servers of them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.serving import Server, running_server

from server.models.config import load_config
from server.models.model_manager import ModelManager

LOOP = """
  input_stream: "LOOPBACK:loopback"
  input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler",
    options { [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
      sync_set { tag_index: "LOOPBACK:0" } } }
  }
  output_stream: "LOOPBACK:loopback"
"""


def python_node(
    name: str, inputs: str, outputs: str, handler: str = "model.py", more: str = ""
) -> str:
    """A node whose ports are written as `TAG:stream TAG:stream`."""
    ports = [f'input_stream: "{port}"' for port in inputs.split()]
    ports += [f'output_stream: "{port}"' for port in outputs.split()]
    return f"""
node {{
  name: "{name}"
  calculator: "PythonExecutorCalculator"
  input_side_packet: "PYTHON_NODE_RESOURCES:py"
  {more}
  {" ".join(ports)}
  node_options: {{
    [type.googleapis.com / mediapipe.PythonExecutorCalculatorOptions]: {{
      handler_path: "{handler}"
    }}
  }}
}}
"""


def python_graph(inputs: str, outputs: str, *nodes: str) -> str:
    """A graph whose borders are written as `TAG:stream TAG:stream`."""
    borders = [f'input_stream: "{port}"' for port in inputs.split()]
    borders += [f'output_stream: "{port}"' for port in outputs.split()]
    return "\n".join([*borders, *nodes])


def write_graph(folder: Path, graph: str, **handlers: str) -> None:
    """A folder with graph.pbtxt and the handlers, by the names of their files without `.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph.pbtxt").write_text(graph)
    for name, text in handlers.items():
        (folder / f"{name}.py").write_text(text)


@asynccontextmanager
async def serving(root: Path, *names: str) -> AsyncIterator[Server]:
    """A server of the folders of these names in `root`; its manager may have failed models."""
    entries = [{"config": {"name": name, "base_path": name}} for name in names]
    config = root / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    manager = ModelManager(load_config(config))
    await manager.load_all()
    async with running_server(manager) as server:
        yield server
