"""JSON as text: compact, and in ASCII. What may be large comes in pieces."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from json.encoder import encode_basestring_ascii
from typing import TypeVar

__all__ = ["JsonItems", "batches", "json_bytes", "json_pieces", "json_string", "json_text"]

T = TypeVar("T")

# In ASCII on purpose: some clients split an event stream at U+2028 and U+0085 too.
json_string = encode_basestring_ascii

PIECE_CHARACTERS = 2**16
"""Encoding so much takes one to three milliseconds, in which no other thread can run."""
VALUES_AT_ONCE = 1024
OBJECTS_AT_ONCE = 16

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def json_bytes(value: object) -> bytes:
    """Compact JSON in ASCII."""
    return _encode(value).encode()


def json_text(value: object) -> str:
    """Compact JSON in ASCII, of anything that `json_pieces` takes; other threads can run."""
    return "".join(_texts(value))


def json_pieces(value: object) -> Iterator[bytes]:
    """Compact JSON in ASCII, in pieces that each take a few milliseconds.

    An iterator becomes a list. Its items must be small; they are taken when they are written.
    """
    found: list[str] = []
    size = 0
    for text in _texts(value):
        found.append(text)
        size += len(text)
        if size >= PIECE_CHARACTERS:
            yield "".join(found).encode()
            found, size = [], 0
    yield "".join(found).encode()


class JsonItems:
    """A list whose items are kept as JSON.

    Millions of small objects would slow down the garbage collector, and all other threads while
    they are freed.
    """

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, items: Iterable[object]) -> str:
        """Append items, each of them small; returns their JSON, without brackets."""
        added = [_encode(batch)[1:-1] for batch in batches(items)]
        self._texts += added
        return ",".join(added)

    def texts(self) -> Iterator[str]:
        """The list as JSON, in pieces."""
        yield "["
        for place, text in enumerate(self._texts):
            yield f",{text}" if place else text
        yield "]"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield '"'
        for start in range(0, len(value), PIECE_CHARACTERS):
            yield json_string(value[start : start + PIECE_CHARACTERS])[1:-1]
        yield '"'
    elif isinstance(value, JsonItems):
        yield from value.texts()
    elif isinstance(value, Mapping):
        yield from _members(value)
    elif isinstance(value, list | tuple):
        is_flat = bool(value) and isinstance(value[0], int | float | str)
        yield from _plain(value) if is_flat else _items(value)
    elif isinstance(value, Iterator):
        yield "["
        for place, batch in enumerate(batches(value)):
            yield ("," if place else "") + _encode(batch)[1:-1]
        yield "]"
    else:
        yield _encode(value)


def _members(members: Mapping[str, object]) -> Iterator[str]:
    before = "{"
    for name, value in members.items():
        yield f"{before}{json_string(name)}:"
        yield from _texts(value)
        before = ","
    yield "}" if members else "{}"


def _items(items: Iterable[object]) -> Iterator[str]:
    yield "["
    for place, item in enumerate(items):
        if place:
            yield ","
        yield from _texts(item)
    yield "]"


def _plain(values: Sequence[object]) -> Iterator[str]:
    """A list of numbers or of strings."""
    yield "["
    for start in range(0, len(values), VALUES_AT_ONCE):
        if start:
            yield ","
        batch = values[start : start + VALUES_AT_ONCE]
        if sum(len(value) for value in batch if isinstance(value, str)) > PIECE_CHARACTERS:
            yield ",".join(json_text(value) for value in batch)
        else:
            yield _encode(batch)[1:-1]
    yield "]"


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Small objects, as many at once as can be written in about a millisecond."""
    remaining = iter(items)
    while batch := list(islice(remaining, OBJECTS_AT_ONCE)):
        yield batch
