"""TensorFlow Serving's nested lists <-> tensors, compared with numpy."""

import json
import re
from typing import Any

import numpy as np
import pytest

from server.errors import InvalidRequestError
from server.payloads import InferRequest, InferResponse
from server.protocol.tensorflow.predict import PredictCall, parse_predict, read_predict
from server.protocol.tensorflow.predict_rendering import render_predict
from server.tensors import ModelSignature, Tensor, TensorInfo, join_elements

TYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


X = TensorInfo("x", "FP32", (-1,))


def parse(body: Any, *infos: TensorInfo) -> PredictCall:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = read_predict(text)
    return parse_predict(fields, ModelSignature(infos, ()))


def render(*tensors: Tensor, num_rows: int | None = None) -> Any:
    call = PredictCall(InferRequest(()), num_rows)
    return json.loads(b"".join(render_predict(call, InferResponse(tensors))))


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("values", [1, [0, 1], [[[1, 0]], [[0, 0]], [[1, 1]]], []])
def test_datatypes_and_shapes(datatype: str, values: Any) -> None:
    array = np.array(values, TYPES[datatype])
    call = parse({"inputs": array.tolist()}, TensorInfo("x", datatype, (-1,)))
    [tensor] = call.request.inputs
    assert (tensor.shape, tensor.data) == (array.shape, array.tobytes())
    assert call.num_rows is None
    assert render(tensor) == {"outputs": array.tolist()}


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (5000,), (3, 5000), (70, 9, 11), (5000, 2)])
def test_any_shape_is_nested(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    t, u = (Tensor(name, "INT64", shape, array.tobytes()) for name in "tu")
    assert render(t) == {"outputs": array.tolist()}
    assert render(t, u) == {"outputs": {"t": array.tolist(), "u": array.tolist()}}
    if shape:
        assert render(t, num_rows=shape[0]) == {"predictions": array.tolist()}
        rows = [{"t": row, "u": row} for row in array.tolist()]
        assert render(t, u, num_rows=shape[0]) == {"predictions": rows}


def test_rows_need_a_row_for_each_instance() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"the shape \[2\], not one row for each of the 3"
    ):
        render(Tensor("t", "UINT8", (2,), b"12"), num_rows=3)
    with pytest.raises(InvalidRequestError, match=r"the shape \[\], not one row"):
        render(Tensor("t", "UINT8", (), b"1"), num_rows=1)


def test_texts() -> None:
    data = join_elements(["é".encode(), b"\xff"])
    for name, first in (("t", "é"), ("t_bytes", {"b64": "w6k="})):
        tensor = Tensor(name, "BYTES", (2, 1), data)
        assert render(tensor) == {"outputs": [[first], [{"b64": "/w=="}]]}


def test_what_json_cannot_hold() -> None:
    with pytest.raises(InvalidRequestError, match="inputs: x cannot hold BF16; possible: "):
        parse({"inputs": [1]}, TensorInfo("x", "BF16", (-1,)))
    with pytest.raises(InvalidRequestError, match="BF16, which JSON cannot hold"):
        render(Tensor("t", "BF16", (1,), b"12"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request has no body"),
        ({}, "one of instances and inputs must be there, found neither"),
        ({"instances": [1], "inputs": [1]}, "found both"),
        ({"instances": 1}, "instances must be a list, found the number 1"),
        ({"instances": []}, "instances is empty"),
        ({"instances": [1], "signature_name": "regress"}, "there is no signature 'regress'"),
        ({"instances": [1], "instance": []}, "unknown field 'instance'; did you mean 'instances'"),
        ({"instances": [1, "x"]}, "instances: x holds the string 'x', which is no FP32"),
        ({"instances": [[1, 2], [3]]}, "has a list of 1 where its shape says 2"),
        ({"instances": [1, [2]]}, "holds a list, which is no FP32"),
        ({"instances": [{"x": 1}, {"y": 1}]}, "instances[1] has other inputs than the first: y"),
        ({"instances": [{"x": 1}, 2]}, "instances[1] must be an object like the first"),
        ({"instances": [{"z": 1}]}, "the model has no input 'z'"),
        ({"instances": [10**400]}, "which FP32 cannot hold"),
    ],
)
def test_errors(body: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        parse(body, X)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        (1, 'holds the number 1; possible: a string, or {"b64": "..."}'),
        ({"b64": 1}, "holds an object; possible"),
        ({"b64": "?"}, "holds b64 that is no Base64"),
        ({"b64": "ä"}, "holds b64 that is no Base64"),
    ],
)
def test_wrong_bytes(tag: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        parse({"instances": [tag, "ok"]}, TensorInfo("tag", "BYTES", (-1,)))
