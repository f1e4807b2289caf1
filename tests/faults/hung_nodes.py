"""Models with nodes of the user's that hang when a request says so."""

import json
from pathlib import Path
from typing import Any

from support.infer_calls import tensor
from support.python_graphs import python_graph, python_node, write_graph
from support.server_process import ServerProcess

HANDLER = """
import time
from pathlib import Path
from pyovms import Tensor

def is_due(fault):
    path = Path(__file__).with_name(fault)
    if not path.exists():
        return False
    path.unlink()
    return True

class OvmsPythonModel:
    def initialize(self, arguments):
        if is_due("initialize_hangs"):
            time.sleep(10**9)

    def execute(self, inputs):
        text = bytes(inputs[0]).decode()
        if "hang" in text or is_due("execute_hangs"):
            time.sleep(10**9)
        return [Tensor("uppercase", text.upper().encode())]
"""
HANDLER_GRAPH = python_graph(
    "OVMS_PY_TENSOR:text",
    "OVMS_PY_TENSOR:uppercase",
    python_node("upper", "INPUT:text", "OUTPUT:uppercase"),
)
OWN = """
import asyncio
import time

from server.graph import Calculator, Contract, Tag
from server.payloads import HttpRequestPayload, HttpResponsePayload

REQUEST = Tag("HTTP_REQUEST_PAYLOAD", HttpRequestPayload)
RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", HttpResponsePayload)

class OwnCalculator(Calculator):
    contract = Contract(inputs=(REQUEST,), outputs=(RESPONSE,))

    async def process(self, cc):
        request = await cc.receive(REQUEST)
        if b"await" in request.body:
            await asyncio.Event().wait()
        seconds = 10**9 if b"thread" in request.body else 0
        await asyncio.to_thread(time.sleep, seconds)
        await cc.send(RESPONSE, HttpResponsePayload(b'"done"'))
"""
OWN_GRAPH = """
input_stream: "HTTP_REQUEST_PAYLOAD:request"
output_stream: "HTTP_RESPONSE_PAYLOAD:response"
node {
  name: "mine" calculator: "./own.py:OwnCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:request" output_stream: "HTTP_RESPONSE_PAYLOAD:response"
}
"""


def write_nodes(folder: Path) -> Path:
    """The models `handler`, `own` and `other`; returns config.json."""
    for name in ("handler", "other"):
        write_graph(folder / name, HANDLER_GRAPH, model=HANDLER)
    write_graph(folder / "own", OWN_GRAPH, own=OWN)
    entries = [
        {"config": {"name": name, "base_path": name}} for name in ("handler", "own", "other")
    ]
    config = folder / "nodes.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    return config


def ask_handler(server: ServerProcess, text: str, model: str = "handler") -> tuple[int, Any]:
    """The status and answer of a Python node."""
    body = {"inputs": [tensor("text", [text], [1], "BYTES")]}
    return server.post(f"/v2/models/{model}/infer", body)


def ask_own(server: ServerProcess, text: str) -> tuple[int, Any]:
    """The status and answer of the user's calculator."""
    return server.post("/v3/anything", {"model": "own", "text": text})
