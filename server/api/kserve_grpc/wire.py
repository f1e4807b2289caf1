"""protobuf's wire format, as far as tensors need it.

`raw_input_contents` may hold a gigabyte. It is neither copied nor parsed: that would stop all other
requests, because protobuf does not let other threads run meanwhile.
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Sequence
from typing import NamedTuple

from server.errors import InvalidRequestError

__all__ = ["Buffer", "RequestParts", "bytes_field", "split_request"]

Buffer = bytes | bytearray | memoryview

RAW_INPUT_CONTENTS = 7
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED_64: 8, FIXED_32: 4}
MAX_VARINT_BYTES = 10
# A request has a few for each tensor.
MAX_FIELDS = 10_000


class RequestParts(NamedTuple):
    """A ModelInferRequest without its raw contents, and these as views of the request."""

    message: bytes
    raw_contents: list[memoryview]


def split_request(data: bytes) -> RequestParts:
    """Take `raw_input_contents` out of a ModelInferRequest. Raises InvalidRequestError."""
    view = memoryview(data)
    rest: list[memoryview] = []
    raw_contents: list[memoryview] = []
    position = 0
    while position < len(view):
        start = position
        tag, position = _read_varint(view, position)
        wire_type = tag & 7
        if wire_type == BYTES:
            size, begin = _read_varint(view, position)
            position = begin + size
        elif wire_type == VARINT:
            begin, position = position, _read_varint(view, position)[1]
        elif wire_type in FIXED_SIZES:
            begin, position = position, position + FIXED_SIZES[wire_type]
        else:
            raise _broken(f"a field at byte {start} has the wire type {wire_type}")
        if position > len(view):
            raise _broken(f"a field at byte {start} ends after the message")
        if tag == RAW_INPUT_CONTENTS << 3 | BYTES:
            raw_contents.append(view[begin:position])
        else:
            rest.append(view[start:position])
        if len(rest) + len(raw_contents) > MAX_FIELDS:
            raise _broken(f"it has more than {MAX_FIELDS} fields")
    return RequestParts(b"".join(rest), raw_contents)


def bytes_field(number: int, parts: Sequence[Buffer]) -> list[Buffer]:
    """A field of bytes, or of a message, as pieces to join: tag and length, and then `parts`."""
    return [_varint(number << 3 | BYTES) + _varint(sum(map(len, parts))), *parts]


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(view[position : position + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise _broken(f"a number at byte {position} has no end")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _broken(problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"the message is no ModelInferRequest: {problem}")
