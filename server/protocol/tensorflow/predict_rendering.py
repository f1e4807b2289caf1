"""The answer of :predict: the outputs as nested lists."""

import base64
import json
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from server.errors import InvalidRequestError
from server.payloads import InferResponse
from server.protocol.json_text import json_bytes
from server.protocol.kserve.tensor_json import CODES
from server.protocol.tensorflow.predict import PredictCall
from server.tensors import Tensor

__all__ = ["render_predict"]

# So many values become JSON at once; other threads can run before the next ones.
SLICE = 4096
BINARY_SUFFIX = "_bytes"


def render_predict(call: PredictCall, response: InferResponse) -> list[bytes]:
    """The body in pieces. Raises InvalidRequestError for outputs that do not fit the format."""
    outputs = [_Output(tensor) for tensor in response.outputs]
    if call.num_rows is None:
        return [b'{"outputs":', *_columns(outputs), b"}"]
    for tensor in response.outputs:
        if tensor.shape[:1] != (call.num_rows,):
            raise InvalidRequestError(
                f"output {tensor.name!r} has the shape {list(tensor.shape)}, not one row for each "
                f"of the {call.num_rows} instances; send inputs instead of instances",
                "instances",
            )
    return [b'{"predictions":', *_rows(outputs, call.num_rows), b"}"]


class _Output:
    """A tensor whose values are read piece by piece."""

    def __init__(self, tensor: Tensor) -> None:
        self.name = tensor.name
        self.shape = tensor.shape
        self._elements: Sequence[Any] | None = None
        if tensor.datatype == "BYTES":
            is_binary = tensor.name.endswith(BINARY_SUFFIX)
            self._elements = [_text(element, is_binary) for element in tensor.elements()]
            return
        if tensor.datatype not in CODES:
            raise InvalidRequestError(
                f"output {tensor.name!r} has the datatype {tensor.datatype}, which JSON cannot "
                "hold; ask /v2 for binary data"
            )
        self._code = CODES[tensor.datatype]
        self._item_size = struct.calcsize(self._code)
        self._data = memoryview(tensor.data)

    def json(self, start: int, shape: Sequence[int]) -> Iterator[bytes]:
        """The values from `start` on, nested as `shape` says, as pieces of JSON."""
        size = math.prod(shape)
        if size <= SLICE:
            yield json.dumps(_nest(self._read(start, size), shape)).encode()
            return
        step = math.prod(shape[1:])
        # The rows of a long list that holds no lists are read together.
        num_rows = SLICE if len(shape) == 1 else 1
        yield b"["
        for row in range(0, shape[0], num_rows):
            yield b"," if row else b""
            if len(shape) > 1:
                yield from self.json(start + row * step, shape[1:])
            else:
                values = self._read(start + row, min(SLICE, shape[0] - row))
                yield json.dumps(values)[1:-1].encode()
        yield b"]"

    def _read(self, start: int, size: int) -> list[Any]:
        if self._elements is not None:
            return list(self._elements[start : start + size])
        begin, end = start * self._item_size, (start + size) * self._item_size
        return list(struct.unpack(f"<{size}{self._code}", self._data[begin:end]))


def _columns(outputs: Sequence[_Output]) -> Iterator[bytes]:
    if len(outputs) == 1:
        yield from outputs[0].json(0, outputs[0].shape)
        return
    yield b"{"
    for index, output in enumerate(outputs):
        yield (b"," if index else b"") + json_bytes(output.name) + b":"
        yield from output.json(0, output.shape)
    yield b"}"


def _rows(outputs: Sequence[_Output], num_rows: int) -> Iterator[bytes]:
    if len(outputs) == 1:
        yield from outputs[0].json(0, outputs[0].shape)
        return
    yield b"["
    for row in range(num_rows):
        yield b",{" if row else b"{"
        for index, output in enumerate(outputs):
            shape = output.shape[1:]
            yield (b"," if index else b"") + json_bytes(output.name) + b":"
            yield from output.json(row * math.prod(shape), shape)
        yield b"}"
    yield b"]"


def _nest(values: list[Any], shape: Sequence[int]) -> Any:
    if not shape:
        return values[0]
    for position in range(len(shape) - 1, 0, -1):
        size = shape[position]
        count = math.prod(shape[:position])
        values = [values[i * size : (i + 1) * size] for i in range(count)]
    return values


def _text(element: bytes, is_binary: bool) -> str | dict[str, str]:
    """As TensorFlow Serving has it; what is no text is binary, whatever the output is called."""
    if not is_binary:
        try:
            return element.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(element).decode()}
