"""KServe's inference request: JSON, then the binary data of tensors.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import InferRequest
from server.protocol.field_rules import MAX_NAME_CHARACTERS, FieldRules, UnknownFields
from server.protocol.json_body import parse_json_object
from server.protocol.kserve.parameters import refuse_parameters
from server.protocol.kserve.tensor_json import data_of_values
from server.protocol.refusal import expect
from server.protocol.validation import validate_fields
from server.tensors import ITEM_SIZES, MAX_RANK, Tensor

__all__ = ["InferCall", "InferFields", "parse_infer"]

MAX_TENSORS = 1000

Dimension = Annotated[int, Field(ge=0, le=2**31 - 1)]
ByteCount = Annotated[int, Field(ge=0, le=2**40)]
Parameter = bool | int | float | str


class _Fields(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _TensorParameters(_Fields):
    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Parameter] = Field(init=False)


class InputParameters(_TensorParameters):
    """`binary_data_size` says how many bytes after the JSON are the tensor's data."""

    binary_data_size: ByteCount | None = None


class InputFields(_Fields):
    """A tensor for the model. `data` is flat or nested like the shape; if missing, it is binary."""

    name: str
    shape: Annotated[list[Dimension], Field(max_length=MAX_RANK)]
    datatype: str
    data: Any = None
    parameters: InputParameters = InputParameters()


class OutputParameters(_TensorParameters):
    """`binary_data` asks for the data as bytes after the JSON."""

    binary_data: bool | None = None


class OutputFields(_Fields):
    """A tensor that the client wants."""

    name: str
    parameters: OutputParameters = OutputParameters()


class InferFields(_Fields):
    """KServe's inference request. Without `outputs`, all outputs of the model are returned."""

    id: str | None = None
    inputs: Annotated[list[InputFields], Field(max_length=MAX_TENSORS)]
    outputs: Annotated[list[OutputFields], Field(max_length=MAX_TENSORS)] | None = None
    parameters: dict[str, Parameter] | None = None


@dataclass(frozen=True, slots=True)
class InferCall:
    """A parsed request, and how to write its answer."""

    request: InferRequest
    id: str | None
    binary_outputs: Mapping[str, bool]
    is_binary_default: bool
    unknown_fields: UnknownFields

    def is_binary(self, output: str) -> bool:
        """Whether the client wants this output as bytes."""
        return self.binary_outputs.get(output, self.is_binary_default)


def parse_infer(body: bytes, header_length: str | None) -> InferCall:
    """Parse a request; raises InvalidRequestError.

    `header_length` is the header Inference-Header-Content-Length: the length of the JSON.
    """
    json_end = _json_end(header_length, len(body))
    document = parse_json_object(body[:json_end])
    fields = validate_fields(InferFields, document, FieldRules({}))
    rest = _BinaryData(memoryview(body)[json_end:])
    is_only = len(fields.inputs) == 1
    inputs = [
        _tensor(tensor, rest, f"inputs[{i}]", is_only=is_only)
        for i, tensor in enumerate(fields.inputs)
    ]
    rest.check_empty()
    parameters = dict(fields.parameters or {})
    is_binary_default = parameters.pop("binary_data_output", False)
    return InferCall(
        InferRequest(tuple(inputs), _output_names(fields), parameters),
        fields.id,
        {
            output.name: output.parameters.binary_data
            for output in fields.outputs or ()
            if output.parameters.binary_data is not None
        },
        # A number asks for nothing, as in Model Server.
        is_binary_default is True,
        _unknown_parameters(fields),
    )


def _unknown_parameters(fields: InferFields) -> UnknownFields:
    parameters: dict[str, _TensorParameters] = {
        **{f"inputs[{i}]": tensor.parameters for i, tensor in enumerate(fields.inputs)},
        **{f"outputs[{i}]": tensor.parameters for i, tensor in enumerate(fields.outputs or ())},
    }
    names: list[str] = []
    for where, given in parameters.items():
        found = given.model_extra or {}
        refuse_parameters(found, where)
        names += [f"{where}.parameters.{name}"[:MAX_NAME_CHARACTERS] for name in found]
    return UnknownFields(tuple(names), {"binary_data", "binary_data_size"})


class _BinaryData:
    """The binary data after the JSON, read from start to end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    @property
    def is_there(self) -> bool:
        return len(self._data) > 0

    def take(self, size: int, where: str) -> memoryview:
        rest = len(self._data) - self._position
        if size > rest:
            raise InvalidRequestError(
                f"{where} takes {size} bytes of binary data, but only {rest} are left", "inputs"
            )
        self._position += size
        return self._data[self._position - size : self._position]

    def take_all(self) -> memoryview:
        return self.take(len(self._data) - self._position, "")

    def check_empty(self) -> None:
        rest = len(self._data) - self._position
        if rest:
            raise InvalidRequestError(
                f"the body has {rest} bytes after the binary data of all inputs", "inputs"
            )


def _json_end(header_length: str | None, num_bytes: int) -> int:
    if header_length is None:
        return num_bytes
    is_number = header_length.isascii() and header_length.isdigit() and len(header_length) < 20
    if not is_number or int(header_length) > num_bytes:
        raise InvalidRequestError(
            f"the header Inference-Header-Content-Length is {header_length[:40]!r}; possible: "
            f"a number of bytes, at most the {num_bytes} of the body"
        )
    return int(header_length)


def _tensor(fields: InputFields, rest: _BinaryData, where: str, *, is_only: bool) -> Tensor:
    size = fields.parameters.binary_data_size
    if fields.data is not None and size is not None:
        raise InvalidRequestError(f"{where} has both data and binary_data_size", "inputs")
    data: bytes | memoryview
    if fields.data is None:
        data = _binary_data(fields, rest, where, is_only=is_only)
    else:
        values = expect(list, fields.data, f"{where}.data")
        data = data_of_values(fields.datatype, fields.shape, values, f"{where}.data")
    try:
        return Tensor(fields.name, fields.datatype, tuple(fields.shape), data)
    except ValueError as error:
        raise InvalidRequestError(f"{where} ({fields.name[:100]!r}): {error}", "inputs") from error


def _binary_data(
    fields: InputFields, rest: _BinaryData, where: str, *, is_only: bool
) -> memoryview:
    size = fields.parameters.binary_data_size
    if size is None:
        # OVMS's shortcut: shape and datatype determine the size; texts and images are all there is.
        is_known = fields.datatype in ITEM_SIZES
        if not (rest.is_there and (is_known or is_only)):
            problem = f"{where} has neither data nor parameters.binary_data_size"
            raise InvalidRequestError(problem, "inputs")
        if not is_known:
            return rest.take_all()
        size = math.prod(fields.shape) * ITEM_SIZES[fields.datatype]
    return rest.take(size, where)


def _output_names(fields: InferFields) -> tuple[str, ...]:
    names = [output.name for output in fields.outputs or ()]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidRequestError(f"outputs[{i}] is there twice: {name[:100]!r}", "outputs")
    return tuple(names)
