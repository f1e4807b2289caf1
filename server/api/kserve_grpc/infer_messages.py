"""ModelInferRequest -> the packet of a graph -> ModelInferResponse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from server.api.kserve_grpc.messages import message_class
from server.api.kserve_grpc.wire import Buffer, bytes_field, check_contents, split_request
from server.errors import InvalidRequestError
from server.payloads import InferRequest, InferResponse
from server.protocol.kserve.parameters import refuse_parameters
from server.protocol.kserve.tensor_json import data_of_values
from server.tensors import Tensor, join_elements

__all__ = ["InferCall", "parse_infer", "render_infer", "render_stream_error", "render_stream_infer"]

MAX_TENSORS = 1000
# The fields of InferTensorContents. FP16 and BF16 have none.
CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
RAW_OUTPUT_CONTENTS = 6
INFER_RESPONSE = 2
# protobuf lets no other request go on while it parses, and each value becomes a Python object.
MAX_TYPED_BYTES = 2**26
SMALL_MESSAGE_BYTES = 2**20
# Model Server's name for the time of a packet in a stream.
TIMESTAMP = "OVMS_MP_TIMESTAMP"

ModelInferRequest = message_class("ModelInferRequest")
ModelInferResponse = message_class("ModelInferResponse")
ModelStreamInferResponse = message_class("ModelStreamInferResponse")


@dataclass(frozen=True, slots=True)
class InferCall:
    """A parsed request: the packet, and what else the message says.

    `timestamp` is the parameter OVMS_MP_TIMESTAMP, which a stream's answers repeat.
    """

    model_name: str
    model_version: str
    id: str
    request: InferRequest
    timestamp: int | None


def parse_infer(data: bytes) -> InferCall:
    """Parse a ModelInferRequest. Its tensors are views of `data`. Raises InvalidRequestError."""
    parts = split_request(data)
    if len(parts.message) > MAX_TYPED_BYTES:
        raise InvalidRequestError(
            f"contents and names take {len(parts.message)} bytes; possible: {MAX_TYPED_BYTES}, and "
            "any number in raw_input_contents",
            "inputs",
        )
    if len(parts.message) > SMALL_MESSAGE_BYTES:
        check_contents(parts.message)
    try:
        message = ModelInferRequest.FromString(parts.message)
    except DecodeError as error:
        raise InvalidRequestError(f"the message is no ModelInferRequest: {error}") from error
    _check_num_tensors(message, len(parts.raw_contents))
    parameters = _parameters(message.parameters, "parameters")
    timestamp = parameters.pop(TIMESTAMP, None)
    if not (timestamp is None or type(timestamp) is int):
        raise InvalidRequestError(f"the parameter {TIMESTAMP} must be int64_param")
    inputs = (
        _input(tensor, parts.raw_contents[i] if parts.raw_contents else None, f"inputs[{i}]")
        for i, tensor in enumerate(message.inputs)
    )
    return InferCall(
        message.model_name,
        message.model_version,
        message.id,
        InferRequest(tuple(inputs), _output_names(message.outputs), parameters),
        timestamp,
    )


def render_infer(call: InferCall, response: InferResponse, model_version: str) -> bytes:
    """A ModelInferResponse; all outputs are in raw_output_contents, as in Model Server."""
    return b"".join(_infer_response(call, response, model_version, None))


def render_stream_infer(
    call: InferCall, response: InferResponse, model_version: str, timestamp: int
) -> bytes:
    """A ModelStreamInferResponse with an answer."""
    pieces = _infer_response(call, response, model_version, timestamp)
    return b"".join(bytes_field(INFER_RESPONSE, pieces))


def render_stream_error(message: str, request_id: str) -> bytes:
    """A ModelStreamInferResponse for a request that failed."""
    error = ModelStreamInferResponse(error_message=message)
    error.infer_response.id = request_id
    return bytes(error.SerializeToString())


def _infer_response(
    call: InferCall, response: InferResponse, model_version: str, timestamp: int | None
) -> list[Buffer]:
    message = ModelInferResponse(
        model_name=call.model_name, model_version=model_version, id=call.id
    )
    if timestamp is not None:
        message.parameters[TIMESTAMP].int64_param = timestamp
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    pieces: list[Buffer] = [message.SerializeToString()]
    for tensor in response.outputs:
        pieces += bytes_field(RAW_OUTPUT_CONTENTS, [tensor.data])
    return pieces


def _check_num_tensors(message: Any, num_raw: int) -> None:
    if len(message.inputs) > MAX_TENSORS or len(message.outputs) > MAX_TENSORS:
        raise InvalidRequestError(f"more than {MAX_TENSORS} inputs or outputs", "inputs")
    if not num_raw:
        return
    if num_raw != len(message.inputs):
        raise InvalidRequestError(
            f"raw_input_contents has {num_raw} items; possible: one for each of the "
            f"{len(message.inputs)} inputs",
            "raw_input_contents",
        )
    for index, tensor in enumerate(message.inputs):
        if tensor.HasField("contents"):
            problem = f"inputs[{index}] has contents, but raw_input_contents has its data, too"
            raise InvalidRequestError(problem, "inputs")


def _input(tensor: Any, raw: memoryview | None, where: str) -> Tensor:
    refuse_parameters(_parameters(tensor.parameters, f"{where}.parameters"), where)
    data = _contents(tensor, where) if raw is None else raw
    try:
        return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)
    except ValueError as error:
        raise InvalidRequestError(f"{where} ({tensor.name[:100]!r}): {error}", "inputs") from error


def _contents(tensor: Any, where: str) -> bytes:
    expected = CONTENTS.get(tensor.datatype)
    for field, _ in tensor.contents.ListFields():
        if field.name != expected:
            place = "raw_input_contents" if expected is None else expected
            raise InvalidRequestError(
                f"{where}.contents has {field.name}; {tensor.datatype[:20]!r} goes into {place}",
                "inputs",
            )
    if expected is None:
        return b""
    values = getattr(tensor.contents, expected)
    if tensor.datatype == "BYTES":
        return join_elements(values)
    return data_of_values(tensor.datatype, [], values, f"{where}.contents.{expected}")


def _output_names(outputs: Any) -> tuple[str, ...]:
    names: list[str] = []
    for index, output in enumerate(outputs):
        where = f"outputs[{index}]"
        refuse_parameters(_parameters(output.parameters, f"{where}.parameters"), where)
        if output.name in names:
            raise InvalidRequestError(f"{where} is there twice: {output.name[:100]!r}", "outputs")
        names.append(output.name)
    return tuple(names)


def _parameters(parameters: Any, where: str) -> dict[str, bool | int | float | str]:
    values: dict[str, bool | int | float | str] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidRequestError(f"{where}: {name[:100]!r} has no value", "parameters")
        values[name] = getattr(parameter, kind)
    return values
