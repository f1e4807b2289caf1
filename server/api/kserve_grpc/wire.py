"""protobuf's wire format, as far as tensors need it.

`raw_input_contents` may hold a gigabyte. It is neither copied nor parsed: that would stop all other
requests, because protobuf does not let other threads run meanwhile.
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from server.errors import InvalidRequestError

__all__ = ["Buffer", "RequestParts", "bytes_field", "check_contents", "split_request"]

Buffer = bytes | bytearray | memoryview

RAW_INPUT_CONTENTS = 7
INPUTS, CONTENTS = 5, 5
INTEGER_CONTENTS, BYTES_CONTENTS = range(1, 6), 8
# protobuf lets no other thread run while it parses: 50 ms for so many.
MAX_ELEMENTS = 250_000
MAX_INTEGER_BYTES = 2**23
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
    for field in _fields(view):
        if field.tag == RAW_INPUT_CONTENTS << 3 | BYTES:
            raw_contents.append(view[field.begin : field.end])
        else:
            rest.append(view[field.start : field.end])
        if len(rest) + len(raw_contents) > MAX_FIELDS:
            raise _broken(f"it has more than {MAX_FIELDS} fields")
    return RequestParts(b"".join(rest), raw_contents)


def check_contents(message: bytes) -> None:
    """Raise InvalidRequestError for typed contents that take protobuf too long."""
    num_elements, num_integers = 0, 0
    view = memoryview(message)
    for tensor in _messages(view, INPUTS):
        for contents in _messages(tensor, CONTENTS):
            for field in _fields(contents):
                is_packed = field.tag & 7 == BYTES and field.tag >> 3 != BYTES_CONTENTS
                if not is_packed:
                    num_elements += 1
                elif field.tag >> 3 in INTEGER_CONTENTS:
                    num_integers += field.end - field.begin
                if num_elements > MAX_ELEMENTS or num_integers > MAX_INTEGER_BYTES:
                    raise InvalidRequestError(
                        f"contents hold more than {MAX_ELEMENTS} elements of BYTES or "
                        f"{MAX_INTEGER_BYTES} bytes of integers; raw_input_contents has no bound",
                        "inputs",
                    )


class _Field(NamedTuple):
    """A field from its tag at `start` to `end`; its value begins at `begin`."""

    tag: int
    start: int
    begin: int
    end: int


def _fields(view: memoryview) -> Iterator[_Field]:
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
        yield _Field(tag, start, begin, position)


def _messages(view: memoryview, number: int) -> Iterator[memoryview]:
    for field in _fields(view):
        if field.tag == number << 3 | BYTES:
            yield view[field.begin : field.end]


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
