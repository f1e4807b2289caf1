"""The request of :predict, in row or column format."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from server.errors import InvalidRequestError, describe_value, did_you_mean
from server.payloads import InferRequest
from server.protocol.field_rules import FieldRules
from server.protocol.json_body import parse_json_object
from server.protocol.kserve.tensor_json import data_of_values, leaves
from server.protocol.refusal import refuse_value
from server.protocol.validation import validate_fields
from server.tensors import ModelSignature, Tensor, TensorInfo, join_elements

__all__ = ["SIGNATURE_NAME", "PredictCall", "PredictFields", "parse_predict", "read_predict"]

SIGNATURE_NAME = "serving_default"


class PredictFields(BaseModel):
    """TensorFlow Serving's request: `instances` has rows, `inputs` has whole tensors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    signature_name: str | None = None
    instances: list[Any] | None = None
    inputs: Any = None


@dataclass(frozen=True, slots=True)
class PredictCall:
    """A parsed request. `num_rows` is None for the column format."""

    request: InferRequest
    num_rows: int | None


def read_predict(body: bytes) -> PredictFields:
    """Read the JSON, which may hold NaN and Infinity. Raises InvalidRequestError."""
    document = parse_json_object(body, allows_nan=True)
    fields = validate_fields(PredictFields, document, FieldRules({}))
    if (fields.instances is None) == (fields.inputs is None):
        found = "neither" if fields.inputs is None else "both"
        raise InvalidRequestError(f"one of instances and inputs must be there, found {found}")
    if fields.signature_name not in (None, "", SIGNATURE_NAME):
        raise InvalidRequestError(
            f"there is no signature {fields.signature_name[:100]!r}; possible: {SIGNATURE_NAME}",
            "signature_name",
        )
    return fields


def parse_predict(fields: PredictFields, signature: ModelSignature) -> PredictCall:
    """Make tensors of the model's types. Raises InvalidRequestError."""
    if fields.instances is None:
        values = _columns(fields.inputs, signature)
    else:
        values = _rows(fields.instances, signature)
    infos = {info.name: info for info in signature.inputs}
    where = "inputs" if fields.instances is None else "instances"
    for name in values:
        if name not in infos:
            hint = did_you_mean(name, infos) or f"; possible: {', '.join(infos)}"
            raise InvalidRequestError(f"the model has no input {name[:100]!r}{hint}", where)
    tensors = (_tensor(infos[name], value, where) for name, value in values.items())
    num_rows = None if fields.instances is None else len(fields.instances)
    return PredictCall(InferRequest(tuple(tensors)), num_rows)


def _columns(inputs: Any, signature: ModelSignature) -> Mapping[str, Any]:
    if isinstance(inputs, dict) and not _is_binary(inputs):
        return inputs
    return {_only_input(signature, "inputs"): inputs}


def _rows(instances: Sequence[Any], signature: ModelSignature) -> Mapping[str, Any]:
    if not instances:
        raise InvalidRequestError("instances is empty; possible: a list of rows", "instances")
    first = instances[0]
    if not isinstance(first, dict) or _is_binary(first):
        return {_only_input(signature, "instances"): instances}
    for index, row in enumerate(instances):
        if not isinstance(row, dict):
            refuse_value(f"instances[{index}]", "must be an object like the first", row)
        if row.keys() != first.keys():
            raise InvalidRequestError(
                f"instances[{index}] has other inputs than the first: {_names(row)}; "
                f"possible: {_names(first)}",
                "instances",
            )
    return {name: [row[name] for row in instances] for name in first}


def _names(row: Mapping[str, Any]) -> str:
    return (", ".join(row) or "none")[:200]


def _only_input(signature: ModelSignature, where: str) -> str:
    if len(signature.inputs) != 1:
        names = ", ".join(info.name for info in signature.inputs)
        raise InvalidRequestError(f"{where} must name the model's inputs: {names}", where)
    return signature.inputs[0].name


def _tensor(info: TensorInfo, value: Any, field: str) -> Tensor:
    where = f"{field}: {info.name}"
    shape = _shape(value)
    values = value if isinstance(value, list) else [value]
    # Bytes for an input of numbers are encoded images.
    datatype = "BYTES" if _is_binary(_first_element(value)) else info.datatype
    if datatype == "BYTES":
        data = join_elements(
            _element(element, where) for leaf in leaves(values, shape, where) for element in leaf
        )
    else:
        data = data_of_values(datatype, shape, values, where)
    try:
        return Tensor(info.name, datatype, shape, data)
    except ValueError as error:
        raise InvalidRequestError(f"{where}: {error}", field) from error


def _shape(value: Any) -> tuple[int, ...]:
    """The shape that the first element has at each level; the others are compared with it."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _first_element(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _is_binary(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _element(value: Any, where: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_binary(value) or not isinstance(value["b64"], str):
        found = describe_value(value)
        problem = f'{where} holds {found}; possible: a string, or {{"b64": "..."}}'
        raise InvalidRequestError(problem, where.partition(":")[0])
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(f"{where} holds b64 that is no Base64: {error}") from error
