"""KServe's inference endpoint, byte by byte, on small OpenVINO models."""

import asyncio
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tensor_fakes
from support.infer_calls import HEADER, add_inputs, infer_error, infer_ok, post_binary, tensor
from support.openvino_models import (
    DATATYPES,
    add_model,
    write_inference_graph,
)
from support.serving import Server, running_server

from server.models.config import load_config
from server.models.model_manager import ModelManager

NUMBERS = {"FP32": [1.5, -2.0], "FP64": [0.25, -1e9], "FP16": [0.5, 2.0], "BOOL": [True, False]}


async def test_values(server: Server) -> None:
    answer = await infer_ok(server, {"id": "seven", "inputs": add_inputs()})
    assert answer == {
        "model_name": "add",
        "model_version": "1",
        "id": "seven",
        "outputs": [
            tensor("sum", [11.0, 22.0, 33.5], [1, 3]),
            tensor("product", [10.0, 40.0, 105.0], [1, 3]),
        ],
    }


async def test_chosen_outputs_come_in_the_order_of_the_request(server: Server) -> None:
    outputs = [{"name": "product"}, {"name": "sum", "parameters": {}}]
    answer = await infer_ok(server, {"inputs": add_inputs(), "outputs": outputs})
    assert [output["name"] for output in answer["outputs"]] == ["product", "sum"]
    assert "id" not in answer
    answer = await infer_ok(server, {"inputs": add_inputs(), "outputs": outputs[:1]})
    assert [output["name"] for output in answer["outputs"]] == ["product"]


async def test_parameters_that_no_model_knows(server: Server) -> None:
    """As OpenVINO Model Server takes them, and those of tensors are named in the answer."""
    note: dict[str, Any] = {"text": "value", "number": 5, "flag": True}
    body = {
        "inputs": [{**each, "parameters": note} for each in add_inputs()],
        "outputs": [{"name": "sum", "parameters": {"flag": 1}}],
        "parameters": {"binary_data_output": 1, **note},
    }
    async with server.http.post("/v2/models/add/infer", json=body) as response:
        assert (await response.json())["outputs"] == [tensor("sum", [11.0, 22.0, 33.5], [1, 3])]
        assert "inputs[0].parameters.text" in response.headers["X-Ignored-Fields"]


def identity_inputs() -> list[dict[str, Any]]:
    values: dict[str, list[Any]] = {name: [3, 7] for name in DATATYPES}
    # The CPU plugin computes in 32 bits where a model has 64.
    values |= {"INT8": [-128, 127], "UINT32": [0, 2**32 - 1], "INT64": [-(2**31), 5], **NUMBERS}
    values["BYTES"] = ["", "Füchse\0!"]
    inputs = [tensor(name.lower(), values[name], [1, 2], name) for name in DATATYPES]
    return [each for each in inputs if each["datatype"] != "BF16"]


async def test_every_datatype_as_values_and_as_bytes(server: Server) -> None:
    inputs = identity_inputs()
    bf16 = {"name": "bf16", "shape": [1, 2], "datatype": "BF16"}
    bf16["parameters"] = {"binary_data_size": 4}
    outputs: list[dict[str, Any]] = [{"name": f"{each['name']}_out"} for each in inputs]
    outputs.append({"name": "bf16_out", "parameters": {"binary_data": True}})
    head = {"inputs": [*inputs, bf16], "outputs": outputs}
    status, headers, body = await post_binary(server, head, b"\x80\x3f\0\0", "org/identity")
    assert status == 200, body
    json_length = int(headers[HEADER])
    assert headers["Content-Type"] == "application/octet-stream"
    assert body[json_length:] == b"\x80\x3f\0\0"
    answer = json.loads(body[:json_length])
    found = {output["datatype"]: output for output in answer["outputs"]}
    assert set(found) == set(DATATYPES)
    assert "data" not in found["BF16"]
    assert found["BF16"]["parameters"] == {"binary_data_size": 4}
    for each in inputs:
        output = found[each["datatype"]]
        assert output["shape"] == [1, 1, 2]
        assert output["data"] == each["data"]
        assert [type(value) for value in output["data"]] == [type(v) for v in each["data"]]


async def test_all_as_bytes_in_both_directions(server: Server) -> None:
    arrays = {
        name: np.arange(6).reshape(2, 3).astype(name.lower().replace("fp", "float"))
        for name in DATATYPES
        if name not in ("BYTES", "BF16", "BOOL")
    }
    data = {name: array.tobytes() for name, array in arrays.items()}
    data |= {"BOOL": b"\0\1\0\1\0\1", "BF16": bytes(range(12))}
    texts = [b"", b"a\xff", b"\0b", b"c", b"d", b"e"]
    data["BYTES"] = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    inputs = [
        {
            "name": name.lower(),
            "shape": [2, 3],
            "datatype": name,
            "parameters": {"binary_data_size": len(data[name])},
        }
        for name in DATATYPES
    ]
    head = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    sent = b"".join(data[name] for name in DATATYPES)
    status, headers, body = await post_binary(server, head, sent, "org/identity")
    assert status == 200, body
    json_length = int(headers[HEADER])
    assert body[json_length:] == sent
    outputs = json.loads(body[:json_length])["outputs"]
    assert [output["datatype"] for output in outputs] == list(DATATYPES)
    sizes = [output["parameters"]["binary_data_size"] for output in outputs]
    assert sizes == [len(data[name]) for name in DATATYPES]


async def test_an_output_may_differ_from_the_default(server: Server) -> None:
    body = {
        "inputs": add_inputs(),
        "outputs": [{"name": "sum", "parameters": {"binary_data": False}}, {"name": "product"}],
        "parameters": {"binary_data_output": True},
    }
    status, headers, answer = await post_binary(server, body, b"")
    json_length = int(headers[HEADER])
    total, product = json.loads(answer[:json_length])["outputs"]
    assert (status, total["data"]) == (200, [11.0, 22.0, 33.5])
    assert product["parameters"] == {"binary_data_size": 12}
    assert struct.unpack("<3f", answer[json_length:]) == (10.0, 40.0, 105.0)


async def test_size_of_binary_data_follows_from_the_shape(server: Server) -> None:
    x = {"name": "x", "shape": [1, 3], "datatype": "FP32"}
    data = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    head = {"inputs": [x, {**x, "name": "y"}], "outputs": [{"name": "sum"}]}
    status, _, answer = await post_binary(server, head, data)
    assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [5.0, 7.0, 9.0])


@pytest.mark.parametrize("rows", [1, 5000])
async def test_sizes_of_all_kinds(server: Server, rows: int) -> None:
    data = [[i, i + 0.5, -1e-3 * i] for i in range(rows)]
    inputs = [
        tensor("x", data, [rows, 3]),
        tensor("y", [v for row in data for v in row], [rows, 3]),
    ]
    answer = await infer_ok(server, {"inputs": inputs, "outputs": [{"name": "sum"}]})
    expected = np.array(data, np.float32).reshape(-1) * 2
    assert answer["outputs"][0]["shape"] == [rows, 3]
    assert answer["outputs"][0]["data"] == expected.tolist()


async def test_values_that_json_cannot_hold_need_binary_data(server: Server) -> None:
    head: dict[str, Any] = {"inputs": [tensor("x", [0.0, 1.0], [2])]}
    message = await infer_error(server, head, "log")
    assert message == (
        "output 'log' has values that are infinite or no numbers, which JSON cannot hold; "
        "ask for binary_data"
    )
    head["parameters"] = {"binary_data_output": True}
    status, headers, body = await post_binary(server, head, b"", "log")
    assert status == 200
    assert struct.unpack("<2f", body[int(headers[HEADER]) :]) == (float("-inf"), 0.0)


async def test_tensors_that_do_not_fit_each_other(server: Server) -> None:
    inputs = [tensor("x", [0] * 6, [2, 3]), tensor("y", [0] * 15, [5, 3])]
    message = await infer_error(server, {"inputs": inputs})
    assert message.startswith("the model cannot process these tensors: ")
    assert ".cpp" not in message
    await infer_ok(server, {"inputs": add_inputs()})


async def test_a_graph_with_a_node_of_its_own_before_the_model(tmp_path: Path) -> None:
    folder = write_inference_graph(tmp_path / "m", add_model())
    shutil.copy(tensor_fakes.__file__, folder)
    graph = (folder / "graph.pbtxt").read_text()
    own_input = '  input_stream: "INFER_REQUEST:request"'
    graph = graph.replace(own_input, '  input_stream: "INFER_REQUEST:scaled"')
    graph += """
node {
  calculator: "./tensor_fakes.py:ScaleCalculator"
  input_stream: "INFER_REQUEST:request"
  output_stream: "INFER_REQUEST:scaled"
}
"""
    (folder / "graph.pbtxt").write_text(graph)
    (tmp_path / "config.json").write_text('{"model_config_list": [{"config": {"name": "m"}}]}')
    manager = ModelManager(load_config(tmp_path))
    await manager.load_all()
    async with running_server(manager) as server:
        body = {"inputs": add_inputs(), "parameters": {"scale": 10}, "outputs": [{"name": "sum"}]}
        answer = await infer_ok(server, body, "m")
        assert answer["outputs"][0]["data"] == [110.0, 220.0, 335.0]
        inputs = [
            {"name": n, "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
            for n in "xy"
        ]
        head = {"inputs": inputs, "parameters": {"scale": 10, "binary_data_output": True}}
        head["outputs"] = [{"name": "sum"}]
        sent = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
        status, headers, data = await post_binary(server, head, sent, "m")
        assert (status, data[int(headers[HEADER]) :]) == (200, struct.pack("<3f", 50, 70, 90))
        async with server.http.get("/v2/models/m") as response:
            assert len((await response.json())["inputs"]) == 2


async def test_metadata(server: Server) -> None:
    async with server.http.get("/v2/models/add") as response:
        metadata = await response.json()
    two = [-1, 3]
    assert metadata == {
        "name": "add",
        "versions": ["1"],
        "platform": "OpenVINO",
        "inputs": [{"name": name, "datatype": "FP32", "shape": two} for name in ("x", "y")],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": two} for name in ("sum", "product")
        ],
    }
    async with server.http.get("/v2/models/org/identity/versions/1") as response:
        metadata = await response.json()
    assert [each["datatype"] for each in metadata["inputs"]] == list(DATATYPES)
    async with server.http.get("/v2/models/echo") as response:
        assert (await response.json())["inputs"] == [
            {"name": "request", "datatype": "INVALID", "shape": []}
        ]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("add/ready", 200),
        ("org/identity/versions/1/ready", 200),
        ("echo/ready", 200),
        ("add/versions/3/ready", 404),
        ("sub/ready", 404),
        ("sub", 404),
        ("add/infer", 405),
    ],
)
async def test_readiness(server: Server, path: str, status: int) -> None:
    async with server.http.get(f"/v2/models/{path}") as response:
        body = await response.read()
        assert response.status == status
        assert body == b"" if status == 200 else isinstance(json.loads(body)["error"], str)


async def test_a_client_that_leaves_ends_its_inference(server: Server) -> None:
    """There is one infer request, and the work that it is asked for would take minutes."""
    graph = server.manager.get("slow").graph
    size = 2000
    head = {"inputs": [{"name": "x", "shape": [size, size], "datatype": "FP32"}]}
    clients = [
        asyncio.create_task(post_binary(server, head, bytes(size * size * 4), "slow"))
        for _ in range(3)
    ]
    async with asyncio.timeout(120):
        while graph.num_running != len(clients):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    async with asyncio.timeout(120):
        answer = await infer_ok(server, {"inputs": [tensor("x", [0.5], [1, 1])]}, "slow")
    assert answer["outputs"][0]["data"] == [0.0]


async def test_many_at_once(server: Server) -> None:
    async def ask(i: int) -> None:
        inputs = [tensor("x", [i] * 3, [1, 3]), tensor("y", [1] * 3, [1, 3])]
        answer = await infer_ok(server, {"inputs": inputs, "outputs": [{"name": "sum"}]})
        assert answer["outputs"][0]["data"] == [i + 1.0] * 3

    await asyncio.gather(*(ask(i) for i in range(100)))
