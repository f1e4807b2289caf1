"""KServe's inference response: JSON, then the data of binary outputs."""

from collections.abc import Iterator
from typing import Any

from server.payloads import InferResponse
from server.protocol.json_text import json_bytes
from server.protocol.kserve.infer import InferCall
from server.protocol.kserve.tensor_json import json_values
from server.tensors import Tensor

__all__ = ["render_infer"]

Buffer = bytes | bytearray | memoryview


def render_infer(
    call: InferCall, response: InferResponse, model_name: str, model_version: str
) -> tuple[list[Buffer], int | None]:
    """The body in pieces, and the length of its JSON if binary data follows."""
    head: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if call.id is not None:
        head["id"] = call.id
    binary = [tensor.data for tensor in response.outputs if call.is_binary(tensor.name)]
    parts: list[Buffer] = [json_bytes(head)[:-1], b',"outputs":[']
    for i, tensor in enumerate(response.outputs):
        parts += (b"," if i else b"", *_output(tensor, is_binary=call.is_binary(tensor.name)))
    parts.append(b"]}")
    json_length = sum(map(len, parts))
    return [*parts, *binary], json_length if binary else None


def _output(tensor: Tensor, *, is_binary: bool) -> Iterator[bytes]:
    fields: dict[str, Any] = {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "datatype": tensor.datatype,
    }
    if is_binary:
        yield json_bytes({**fields, "parameters": {"binary_data_size": len(tensor.data)}})
        return
    yield json_bytes(fields)[:-1] + b',"data":'
    yield from json_values(tensor)
    yield b"}"
