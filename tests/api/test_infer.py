"""KServe's inference endpoint, byte by byte, on small OpenVINO models."""

import asyncio
import io
import json
import shutil
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensor_fakes
from fakes import echo_graph, write_graph
from openvino_models import (
    DATATYPES,
    add_model,
    identity_model,
    logarithm_model,
    slow_model,
    write_inference_graph,
)
from serving import Server, running_server

from server.api import infer
from server.config import load_config
from server.model_manager import ModelManager

HEADER = "Inference-Header-Content-Length"
MODELS = {
    "add": add_model,
    "org/identity": identity_model,
    "log": logarithm_model,
    "slow": slow_model,
}
NUMBERS = {"FP32": [1.5, -2.0], "FP64": [0.25, -1e9], "FP16": [0.5, 2.0], "BOOL": [True, False]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("infer")
    for name, make in MODELS.items():
        write_inference_graph(folder / name, make(), "nireq: 1" if name == "slow" else "")
    write_graph(folder / "echo", echo_graph())
    entries = [{"config": {"name": name}} for name in (*MODELS, "echo")]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))
    return folder


@pytest.fixture
async def server(repository: Path) -> AsyncIterator[Server]:
    manager = ModelManager(load_config(repository))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


def tensor(name: str, data: Any, shape: list[int], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def add_inputs(**changed: Any) -> list[dict[str, Any]]:
    x = tensor("x", [1, 2, 3.5], [1, 3])
    return [{**x, **changed}, tensor("y", [[10, 20, 30]], [1, 3])]


async def infer_ok(server: Server, body: Any, model: str = "add") -> Any:
    status, answer = await server.post(f"/v2/models/{model}/infer", body)
    assert status == 200, answer
    return answer


async def infer_error(server: Server, body: Any, model: str = "add", status: int = 400) -> str:
    """The message of KServe's error object."""
    found, answer = await server.post(f"/v2/models/{model}/infer", body)
    assert (found, list(answer)) == (status, ["error"]), answer
    assert isinstance(answer["error"], str)
    return str(answer["error"])


async def post_binary(
    server: Server, head: Any, data: bytes, model: str = "add", length: object = None
) -> tuple[int, dict[str, str], bytes]:
    text = json.dumps(head).encode()
    headers = {HEADER: str(len(text) if length is None else length)}
    url = f"/v2/models/{model}/infer"
    sent = io.BytesIO(text + data)
    async with server.http.post(url, data=sent, headers=headers) as response:
        return response.status, dict(response.headers), await response.read()


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
async def test_sizes_of_all_kinds(
    server: Server, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer, "MAX_BYTES_ON_EVENT_LOOP", 1000)
    data = [[i, i + 0.5, -1e-3 * i] for i in range(rows)]
    inputs = [
        tensor("x", data, [rows, 3]),
        tensor("y", [v for row in data for v in row], [rows, 3]),
    ]
    answer = await infer_ok(server, {"inputs": inputs, "outputs": [{"name": "sum"}]})
    expected = np.array(data, np.float32).reshape(-1) * 2
    assert answer["outputs"][0]["shape"] == [rows, 3]
    assert answer["outputs"][0]["data"] == expected.tolist()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "z"}, "the model has no input 'z'"),
        ({"name": "y"}, "input 'y' is there twice"),
        ({"datatype": "INT32", "data": [1, 2, 3]}, "datatype INT32; the model takes FP32"),
        ({"datatype": "fp32"}, "inputs[0].data cannot hold fp32"),
        ({"datatype": "FP32", "data": None}, "neither data nor parameters.binary_data_size"),
        ({"shape": [3]}, "input 'x' has shape [3]; the model takes [-1, 3]"),
        ({"shape": [1, 4], "data": [1, 2, 3, 4]}, "the model takes [-1, 3]"),
        ({"shape": [0, 3], "data": []}, "every dimension must be at least 1"),
        ({"shape": [2, 3]}, "takes 24 bytes, found 12"),
        ({"shape": [-1, 3]}, "inputs.0.shape.0 must be at least 0"),
        ({"shape": [2**31, 3]}, "inputs.0.shape.0 must be at most"),
        ({"shape": [1] * 33}, "inputs.0.shape must have at most 32 items"),
        ({"shape": "3"}, "inputs.0.shape must be a list, found the string '3'"),
        ({"data": 5}, "inputs[0].data must be a list, found the number 5"),
        ({"data": [1, "2", 3]}, "inputs[0].data holds the string '2', which is no FP32"),
        ({"data": [True, 2, 3]}, "inputs[0].data holds true, which is no FP32"),
        ({"data": [1, None, 3]}, "inputs[0].data holds null, which is no FP32"),
        ({"data": [1, [2], 3]}, "inputs[0].data holds a list, which is no FP32"),
        ({"data": [[1, 2, 3], 4]}, "inputs[0].data has 2 lists where its shape says 1"),
        ({"data": [[1, 2]]}, "inputs[0].data has a list of 2 where its shape says 3"),
        ({"data": [[[1], [2], [3]]]}, "inputs[0].data is nested deeper than its shape"),
        ({"shape": [2, 3], "data": [[1, 2, 3], 4]}, "has the number 4 beside lists"),
        ({"data": [1e39, 2, 3]}, "holds the number 1e+39, which FP32 cannot hold"),
        ({"data": [10**400, 2, 3]}, "holds a huge number, which FP32 cannot hold"),
        ({"parameters": {"binary_data_size": 12}}, "both data and binary_data_size"),
        ({"parameters": {"shared_memory_region": "r"}}, "unknown field"),
        ({"prameters": {}}, "unknown field 'inputs.0.prameters'"),
    ],
)
async def test_unusable_inputs(server: Server, changed: dict[str, Any], message: str) -> None:
    body = {"inputs": add_inputs(**changed)}
    assert message in await infer_error(server, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "inputs is missing"),
        ({"inputs": []}, "inputs that are missing: x, y"),
        ({"inputs": add_inputs()[:1]}, "inputs that are missing: y"),
        ({"inputs": {}}, "inputs must be a list"),
        ({"inputs": [5]}, "inputs.0 must be an object"),
        ({"inputs": add_inputs(), "outputs": [{"name": "sun"}]}, "no output 'sun'; did you mean"),
        ({"inputs": add_inputs(), "outputs": [{"name": "sum"}] * 2}, "outputs[1] is there twice"),
        (
            {"inputs": add_inputs(), "outputs": [{"name": "sum", "parameters": {"classes": 1}}]},
            "unknown field 'outputs.0.parameters.classes'",
        ),
        ({"inputs": add_inputs(), "parameters": {"sequence_id": 1}}, "'sequence_id' is unknown"),
        (
            {"inputs": add_inputs(), "parameters": {"binary_data_output": 1}},
            "parameters.binary_data_output must be true or false",
        ),
        (b"{", "the body is not JSON"),
        (b"", "the request has no body"),
        (b'{"inputs": [{"data": [NaN]}]}', "NaN is no JSON number"),
    ],
)
async def test_unusable_requests(server: Server, body: Any, message: str) -> None:
    assert message in await infer_error(server, body)


@pytest.mark.parametrize(
    ("datatype", "value", "message"),
    [
        ("UINT8", 256, "the number 256, which UINT8 cannot hold"),
        ("INT8", -129, "which INT8 cannot hold"),
        ("UINT64", -1, "which UINT64 cannot hold"),
        ("INT64", 1.0, "the number 1.0, which is no INT64"),
        ("BOOL", 1, "which is no BOOL"),
        ("BYTES", 1, "which is no BYTES"),
        ("FP16", 1e6, "which FP16 cannot hold"),
        ("BF16", 1.0, "cannot hold BF16"),
        ("STRING", "x", "cannot hold STRING"),
    ],
)
async def test_values_that_are_none(
    server: Server, datatype: str, value: object, message: str
) -> None:
    body = {"inputs": [tensor(datatype.lower(), [value], [1, 1], datatype)]}
    assert message in await infer_error(server, body, "org/identity")


@pytest.mark.parametrize(
    ("size", "length", "num_bytes", "message"),
    [
        (12, 10_000, 24, "Inference-Header-Content-Length is '10000'"),
        (12, "-1", 24, "Inference-Header-Content-Length is '-1'"),
        (12, "1e3", 24, "Inference-Header-Content-Length is '1e3'"),
        (12, None, 23, "inputs[1] takes 12 bytes of binary data, but only 11 are left"),
        (12, None, 25, "1 bytes after the binary data of all inputs"),
        (11, None, 22, "takes 12 bytes, found 11"),
        (2**41, None, 24, "must be at most"),
        (-1, None, 24, "must be at least 0"),
    ],
)
async def test_binary_data_of_the_wrong_size(
    server: Server, size: int, length: object, num_bytes: int, message: str
) -> None:
    x = {"shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    head = {"inputs": [{"name": "x", **x}, {"name": "y", **x}]}
    status, _, body = await post_binary(server, head, bytes(num_bytes), length=length)
    assert status == 400
    assert message in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ([1, 2], b"\1\0\0\0a", "has 2 elements, the data 1"),
        ([1, 1], b"\1\0\0\0a" * 3, "has 1 elements, the data more"),
        ([1, 1], b"\2\0\0\0a", "an element ends at byte 6, but there are 5 bytes"),
        ([1, 1], b"\1\0", "the length of an element ends after the data"),
        ([2000, 2000], b"", "at most 1000000 of BYTES"),
    ],
)
async def test_broken_texts(server: Server, shape: list[int], data: bytes, message: str) -> None:
    fields = {"name": "bytes", "shape": shape, "datatype": "BYTES"}
    fields["parameters"] = {"binary_data_size": len(data)}
    status, _, body = await post_binary(server, {"inputs": [fields]}, data, "org/identity")
    assert status == 400
    assert message in json.loads(body)["error"]


async def test_what_json_cannot_hold_is_there_as_bytes(server: Server) -> None:
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
        async with server.http.get("/v2/models/m") as response:
            assert len((await response.json())["inputs"]) == 2


async def test_unknown_models_and_versions(server: Server) -> None:
    body = {"inputs": add_inputs()}
    assert "did you mean 'add'" in await infer_error(server, body, "adds", 404)
    message = await infer_error(server, body, "add/versions/2", 404)
    assert message == "model 'add' has no version '2'; versions: 1"
    assert "no version 'x'" in await infer_error(server, body, "add/versions/x", 404)
    answer = await infer_ok(server, body, "add/versions/1")
    assert answer["model_version"] == "1"


async def test_a_text_model_serves_no_tensors(server: Server) -> None:
    message = await infer_error(server, {"inputs": []}, "echo")
    assert message == (
        "model 'echo' does not serve this endpoint: its graph goes from GenerationRequest to "
        "TextChunk, not from InferRequest to InferResponse"
    )
    body = {"model": "add", "prompt": "x"}
    status, answer = await server.post("/v3/completions", body)
    assert (status, answer["error"]["param"]) == (400, "model")


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
        assert (await response.json())["inputs"] == []


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


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v2/nothing", 404, "there is nothing at /v2/nothing"),
        ("POST", "/v2", 405, "POST /v2 is not possible; allowed: GET,HEAD"),
        ("PUT", "/v2/models/add/infer", 405, "allowed: POST"),
        ("POST", "/v2/models/add", 405, "allowed: GET,HEAD"),
    ],
)
async def test_errors_of_http_are_kserves_too(
    server: Server, method: str, path: str, status: int, message: str
) -> None:
    async with server.http.request(method, path) as response:
        assert response.status == status
        assert message in (await response.json())["error"]


async def test_a_client_that_leaves_ends_its_inference(server: Server) -> None:
    """There is one infer request, and the work that it is asked for would take minutes."""
    graph = server.manager.get("slow").graph
    size = 2000
    head = {"inputs": [{"name": "x", "shape": [size, size], "datatype": "FP32"}]}
    clients = [
        asyncio.create_task(post_binary(server, head, bytes(size * size * 4), "slow"))
        for _ in range(3)
    ]
    async with asyncio.timeout(30):
        while graph.num_running != len(clients):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    async with asyncio.timeout(30):
        answer = await infer_ok(server, {"inputs": [tensor("x", [0.5], [1, 1])]}, "slow")
    assert answer["outputs"][0]["data"] == [0.0]


async def test_many_at_once(server: Server) -> None:
    async def ask(i: int) -> None:
        inputs = [tensor("x", [i] * 3, [1, 3]), tensor("y", [1] * 3, [1, 3])]
        answer = await infer_ok(server, {"inputs": inputs, "outputs": [{"name": "sum"}]})
        assert answer["outputs"][0]["data"] == [i + 1.0] * 3

    await asyncio.gather(*(ask(i) for i in range(100)))
