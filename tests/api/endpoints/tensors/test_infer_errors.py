"""What KServe's inference endpoint refuses, and how it says so."""

import json
from typing import Any

import pytest
from support.infer_calls import add_inputs, infer_error, infer_ok, post_binary, tensor
from support.serving import Server


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "z"}, "the model has no input 'z'"),
        ({"name": "y"}, "input 'y' is given twice"),
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
        ({"shape": [2, 3], "data": [[1, 2, 3], 4]}, "has the number 4 next to lists"),
        ({"data": [1e39, 2, 3]}, "holds the number 1e+39, which FP32 cannot hold"),
        ({"data": [10**400, 2, 3]}, "holds a huge number, which FP32 cannot hold"),
        ({"parameters": {"binary_data_size": 12}}, "both data and binary_data_size"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory is not supported"),
        ({"parameters": {"note": [1]}}, "inputs.0.parameters.note"),
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
            {
                "inputs": add_inputs(),
                "outputs": [{"name": "sum", "parameters": {"classification": 1}}],
            },
            "outputs[0] has the parameter 'classification'",
        ),
        ({"inputs": add_inputs(), "parameters": {"sequence_id": 1}}, "'sequence_id' is unknown"),
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
async def test_values_that_do_not_fit_the_datatype(
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


async def test_unknown_models_and_versions(server: Server) -> None:
    body = {"inputs": add_inputs()}
    assert "did you mean 'add'" in await infer_error(server, body, "adds", 404)
    message = await infer_error(server, body, "add/versions/2", 404)
    assert message == "model 'add' has no version '2'; versions: 1"
    assert "no version 'x'" in await infer_error(server, body, "add/versions/x", 404)
    answer = await infer_ok(server, body, "add/versions/1")
    assert answer["model_version"] == "1"


async def test_a_text_model_serves_no_tensors(server: Server) -> None:
    message = await infer_error(server, {"inputs": []}, "echo", 412)
    assert message == (
        "model 'echo' does not serve this endpoint: its graph goes from GenerationRequest to "
        "TextChunk, not from InferRequest to InferResponse"
    )
    body = {"model": "add", "prompt": "x"}
    status, answer = await server.post("/v3/completions", body)
    assert (status, answer["error"]["param"]) == (400, "model")


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
