"""The data of a tensor <-> JSON values.

Both directions work in slices, so that other threads can run between them.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.errors import InvalidRequestError, describe_value
from server.protocol.json_text import json_pieces
from server.tensors import Tensor, join_elements

__all__ = ["CODES", "data_of_values", "json_values", "leaves"]

# struct's letters. BF16 has none, and no form in JSON either.
CODES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
# type(True) is not int, so that true is no number here.
KINDS: Mapping[str, frozenset[type]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str}),
    "FP16": frozenset({int, float}),
    "FP32": frozenset({int, float}),
    "FP64": frozenset({int, float}),
}
INTEGERS = frozenset({int})
SLICE = 4096


def data_of_values(datatype: str, shape: Sequence[int], values: Sequence[Any], where: str) -> bytes:
    """The data of a tensor whose JSON values are flat, or nested as its shape is.

    `where` begins the message of InvalidRequestError. The number of values in a flat list is not
    compared with the shape.
    """
    if datatype != "BYTES" and datatype not in CODES:
        possible = ", ".join([*CODES, "BYTES"])
        raise InvalidRequestError(
            f"{where} cannot hold {datatype[:20]}; possible: {possible}, or binary data", "inputs"
        )
    parts = []
    for values_of_leaf in leaves(values, shape, where):
        for start in range(0, len(values_of_leaf), SLICE):
            parts.append(_pack(datatype, values_of_leaf[start : start + SLICE], where))
    return b"".join(parts)


def json_values(tensor: Tensor) -> Iterator[bytes]:
    """The values of a tensor as pieces of a JSON list, flat, in row-major order.

    Raises InvalidRequestError for what JSON cannot hold, since the client asked for it.
    """
    where = f"output {tensor.name!r}"
    if tensor.datatype == "BYTES":
        try:
            tensor.check_elements()
            elements = [element.decode() for element in tensor.elements()]
        except UnicodeDecodeError as error:
            raise _needs_binary(f"{where} is not UTF-8") from error
        except ValueError as error:
            raise _needs_binary(f"{where} is BYTES without the lengths of its elements") from error
        yield from json_pieces(elements)
        return
    if tensor.datatype not in CODES:
        raise _needs_binary(f"{where} has datatype {tensor.datatype}")
    code, step = CODES[tensor.datatype], SLICE * struct.calcsize(CODES[tensor.datatype])
    view = memoryview(tensor.data)
    if len(view) != tensor.num_elements * struct.calcsize(f"<{code}"):
        # A Python node labels its data as it likes.
        raise _needs_binary(f"{where} has data that its shape and datatype do not describe")
    yield b"["
    for start in range(0, len(view), step):
        piece = view[start : start + step]
        values = struct.unpack(f"<{len(piece) // struct.calcsize(code)}{code}", piece)
        try:
            text = json.dumps(values, allow_nan=False)
        except ValueError as error:
            raise _needs_binary(f"{where} has values that are infinite or no numbers") from error
        yield (b"," if start else b"") + text[1:-1].encode()
    yield b"]"


def _needs_binary(problem: str) -> InvalidRequestError:
    hint = "which JSON cannot hold; ask for binary_data"
    return InvalidRequestError(f"{problem}, {hint}", "outputs")


def leaves(values: Sequence[Any], shape: Sequence[int], where: str) -> Iterator[Sequence[Any]]:
    """The lists without lists in them. Raises InvalidRequestError if they are not like `shape`."""
    if not (values and isinstance(values[0], list)):
        yield values
        return
    if len(shape) < 2:
        raise InvalidRequestError(f"{where} is nested deeper than its shape", "inputs")
    if len(values) != shape[0]:
        raise InvalidRequestError(
            f"{where} has {len(values)} lists where its shape says {shape[0]}", "inputs"
        )
    for inner in values:
        if not isinstance(inner, list):
            found = describe_value(inner)
            raise InvalidRequestError(f"{where} has {found} next to lists", "inputs")
        if len(inner) != shape[1]:
            raise InvalidRequestError(
                f"{where} has a list of {len(inner)} where its shape says {shape[1]}", "inputs"
            )
        yield from leaves(inner, shape[1:], where)


def _pack(datatype: str, values: Sequence[Any], where: str) -> bytes:
    kinds = KINDS.get(datatype, INTEGERS)
    if not kinds.issuperset(map(type, values)):
        wrong = next(value for value in values if type(value) not in kinds)
        raise InvalidRequestError(
            f"{where} holds {describe_value(wrong)}, which is no {datatype}", "inputs"
        )
    if datatype == "BYTES":
        return join_elements(value.encode() for value in values)
    code = CODES[datatype]
    try:
        return struct.pack(f"<{len(values)}{code}", *values)
    except (struct.error, OverflowError):
        wrong = next(value for value in values if not _fits(code, value))
        raise InvalidRequestError(
            f"{where} holds {describe_value(wrong)}, which {datatype} cannot hold", "inputs"
        ) from None


def _fits(code: str, value: float) -> bool:
    try:
        struct.pack(f"<{code}", value)
    except (struct.error, OverflowError):
        return False
    return True
