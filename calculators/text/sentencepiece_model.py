"""The vocabulary inside a SentencePiece model, which is a protobuf message.

Only what is needed is read: field 1 of ModelProto, repeated, is a piece, and of a piece field 1 is
its text and field 3 its type (sentencepiece_model.proto of github.com/google/sentencepiece).
"""

from collections.abc import Iterator

__all__ = ["BYTE", "CONTROL", "parse_pieces"]

CONTROL = 3
BYTE = 6
_NORMAL = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def parse_pieces(model: bytes) -> list[tuple[bytes, int]]:
    """Return text and type of each piece; its place in the list is its token id."""
    pieces = []
    for number, piece in _fields(model):
        if number != 1 or not isinstance(piece, bytes):
            continue
        text, kind = b"", _NORMAL
        for piece_number, value in _fields(piece):
            if piece_number == 1 and isinstance(value, bytes):
                text = value
            elif piece_number == 3 and isinstance(value, int):
                kind = value
        pieces.append((text, kind))
    return pieces


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        wire_type = key & 7
        if wire_type == _VARINT:
            value, position = _read_varint(message, position)
            yield key >> 3, value
            continue
        if wire_type == _BYTES:
            length, position = _read_varint(message, position)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}[wire_type]
        yield key >> 3, message[position : position + length]
        position += length


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
