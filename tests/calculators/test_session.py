"""Graphs in OVMS's form, which run other models of the same server."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.infer_calls import infer_error, infer_ok, tensor
from support.openvino_models import add_model, write_model
from support.python_graphs import python_node
from support.serving import Server, running_server
from support.session_graphs import inference, named, session

from server.models.config import load_config
from server.models.model_manager import ModelManager

TWO_MODELS = f"""
input_stream: "in1"
input_stream: "in2"
output_stream: "out"
{session("first", "add", "1")}
{session("second", "add")}
{
    inference(
        "first",
        "A:in1 OVTENSOR1:in2",
        "P:product",
        named("input", A="x", OVTENSOR1="y") + named("output", P="product"),
    )
}
{inference("second", "x:product y:in2", "S:out", named("output", S="sum"))}
"""
ONE_PAIR = f"""
input_stream: "IN:input"
output_stream: "OUT:output"
{session("session", "two_models", "1")}
{
    inference(
        "session",
        "OVTENSOR:input OVTENSOR1:input",
        "OVTENSOR:output",
        named("input", OVTENSOR="in1", OVTENSOR1="in2") + named("output", OVTENSOR="out"),
    )
}
"""
LISTS = f"""
input_stream: "OVTENSOR:a"
output_stream: "OVTENSOR:b"
{session("session", "add")}
{
    inference(
        "session",
        "X:a Y:a",
        "OVTENSORS:both",
        named("input", X="x", Y="y") + 'output_order_list: ["product", "sum"]',
    )
}
{
    inference(
        "session",
        "OVTENSORS:both",
        "sum:b",
        'input_order_list: "x" input_order_list: "y"',
    )
}
"""
HANDLER = """
import numpy as np
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        numbers = [float(word) for word in bytes(inputs[0])[4:].decode().split()]
        return [Tensor("numbers", np.array([numbers], np.float32))]
"""
CONVERTED = f"""
input_stream: "OVMS_PY_TENSOR:text"
output_stream: "OVMS_PY_TENSOR:answer"
{python_node("parser", "TEXT:text", "NUMBERS:numbers")}
node {{
  calculator: "PyTensorOvTensorConverterCalculator"
  input_stream: "OVMS_PY_TENSOR:numbers"
  output_stream: "OVTENSOR:tensor"
}}
{session("session", "add")}
{
    inference(
        "session",
        "OVTENSOR:tensor OVTENSOR1:tensor",
        "OVTENSOR:sum",
        named("input", OVTENSOR="x", OVTENSOR1="y") + named("output", OVTENSOR="sum"),
    )
}
node {{
  calculator: "PyTensorOvTensorConverterCalculator"
  input_stream: "OVTENSOR:sum"
  output_stream: "OVMS_PY_TENSOR:answer"
  node_options: {{
    [type.googleapis.com/mediapipe.PyTensorOvTensorConverterCalculatorOptions]: {{
      tag_to_output_tensor_names {{ key: "OVMS_PY_TENSOR" value: "answer" }}
    }}
  }}
}}
"""
IN_A_CIRCLE = f"""
input_stream: "in"
output_stream: "out"
{session("session", "circle")}
{inference("session", "in:in", "out:out")}
"""
UNKNOWN = f"""
input_stream: "in"
output_stream: "out"
{session("session", "ad")}
{inference("session", "x:in", "sum:out")}
"""
SCALE = """
import numpy as np
from server.graph import Calculator, Contract, Tag
from server.tensors import Tensor

IN, OUT, FACTOR = Tag("IN", Tensor), Tag("OUT", Tensor), Tag("FACTOR", int)

class ScaleCalculator(Calculator):
    contract = Contract(inputs=(IN,), outputs=(OUT,), input_side_packets=(FACTOR,))

    async def process(self, cc):
        tensor = await cc.receive(IN)
        data = np.frombuffer(tensor.data, np.float32) * np.float32(cc.side_packet(FACTOR))
        await cc.send(OUT, Tensor("scaled", "FP32", tensor.shape, data.tobytes()))
"""
PARAMETER = """
input_stream: "OVTENSOR:in"
output_stream: "OVTENSOR:out"
input_side_packet: "FACTOR:factor"
node {
  calculator: "./scale.py:ScaleCalculator"
  input_side_packet: "FACTOR:factor"
  input_stream: "IN:in"
  output_stream: "OUT:out"
}
"""
GRAPHS = {
    "two_models": TWO_MODELS,
    "one_pair": ONE_PAIR,
    "lists": LISTS,
    "converted": CONVERTED,
    "circle": IN_A_CIRCLE,
    "unknown": UNKNOWN,
    "parameter": PARAMETER,
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    # The graphs come first: a session looks for its model when it is used.
    entries = [{"config": {"name": name, "base_path": name}} for name in (*GRAPHS, "add")]
    for name, graph in GRAPHS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph.pbtxt").write_text(graph)
    (tmp_path / "converted" / "model.py").write_text(HANDLER)
    (tmp_path / "parameter" / "scale.py").write_text(SCALE)
    (tmp_path / "add" / "1").mkdir(parents=True)
    write_model(tmp_path / "add" / "1", add_model(), "adder")
    (tmp_path / "config.json").write_text(json.dumps({"model_config_list": entries}))
    manager = ModelManager(load_config(tmp_path / "config.json"))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


def row(name: str, *values: float) -> dict[str, Any]:
    return tensor(name, list(values), [1, len(values)])


async def test_models_behind_models(server: Server) -> None:
    inputs = [row("in2", 10, 20, 30), row("in1", 1, 2, 3)]
    answer = await infer_ok(server, {"inputs": inputs}, "two_models")
    assert answer["outputs"] == [row("out", 20, 60, 120)]
    answer = await infer_ok(server, {"inputs": [row("input", 1, 2, 3)]}, "one_pair")
    assert answer["outputs"] == [row("output", 2, 6, 12)]
    answer = await infer_ok(server, {"inputs": [row("a", 1, 2, 3)]}, "lists")
    assert answer["outputs"] == [row("b", 3, 8, 15)]


async def test_python_nodes_around_a_model(server: Server) -> None:
    body = {"inputs": [tensor("text", ["1 2 3.5"], [1], "BYTES")]}
    answer = await infer_ok(server, body, "converted")
    assert answer["outputs"] == [row("answer", 2, 4, 7)]
    body["inputs"][0]["data"] = ["1 2"]
    error = await infer_error(server, body, "converted")
    assert error == "input 'x' has shape [1, 2]; the model takes [-1, 3]"


async def test_requests_that_cannot_work(server: Server) -> None:
    inputs = [row("in", 1, 2, 3)]
    error = await infer_error(server, {"inputs": inputs}, "unknown", 404)
    assert error == "there is no model 'ad'; did you mean 'add'?"
    error = await infer_error(server, {"inputs": inputs}, "circle")
    assert "was reached through 8 other graphs" in error


async def test_metadata_has_the_names_only(server: Server) -> None:
    async with server.http.get("/v2/models/two_models") as response:
        metadata = await response.json()
    names = [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]]
    assert names == [("in1", "INVALID", []), ("in2", "INVALID", [])]
    assert [each["name"] for each in metadata["outputs"]] == ["out"]


async def test_parameters_of_requests_are_side_packets(server: Server) -> None:
    body = {"inputs": [row("in", 1, 2)], "parameters": {"factor": 3, "other": "ignored"}}
    answer = await infer_ok(server, body, "parameter")
    assert answer["outputs"] == [row("out", 3, 6)]
    body["parameters"] = {"factor": "3"}
    error = await infer_error(server, body, "parameter")
    assert error == "the parameter 'factor' is a str; it must be a int"
