"""Vectors as JSON, in the forms that clients ask for."""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from server.errors import InvalidRequestError
from server.payloads import Embedding

__all__ = ["FORMS", "as_base64", "as_floats", "as_matrix"]

BITS = 8
# Vectors have a length of 1, so their numbers are between -1 and 1.
INT8_SCALE = 127
# Divisible by three, so that only the last piece has padding; written in a millisecond.
BASE64_BYTES = 3 * 2**17


def as_floats(embedding: Embedding) -> Iterator[bytes]:
    """A list of numbers that are exact as f32, for which nine digits are enough."""
    values = np.frombuffer(embedding.values, "<f4").tolist()
    # Ten times as fast as the json module, which writes the 17 digits of a double.
    yield b"[%b]" % (",%.9g" * len(values) % tuple(values))[1:].encode()


def as_matrix(embedding: Embedding) -> Iterator[bytes]:
    """A list of numbers for each token."""
    step = embedding.size * 4
    yield b"["
    for start in range(0, len(embedding.values), step):
        yield b"," if start else b""
        yield from as_floats(Embedding(embedding.values[start : start + step], embedding.size, 1))
    yield b"]"


def as_base64(embedding: Embedding) -> Iterator[bytes]:
    """The little-endian f32 in row-major order, in base64."""
    yield b'"'
    for start in range(0, len(embedding.values), BASE64_BYTES):
        yield base64.b64encode(embedding.values[start : start + BASE64_BYTES])
    yield b'"'


def _as_int8(embedding: Embedding) -> Iterator[bytes]:
    yield _integers(_scaled(embedding))


def _as_uint8(embedding: Embedding) -> Iterator[bytes]:
    yield _integers(_scaled(embedding) + 128)


def _as_bits(embedding: Embedding) -> Iterator[bytes]:
    yield _integers(_bits(embedding))


def _as_signed_bits(embedding: Embedding) -> Iterator[bytes]:
    """As Cohere and sentence-transformers have it: unsigned bytes minus 128."""
    yield _integers(_bits(embedding).astype(np.int16) - 128)


def _scaled(embedding: Embedding) -> npt.NDArray[np.int16]:
    values = np.frombuffer(embedding.values, "<f4")
    scaled: npt.NDArray[np.int16] = np.clip(np.rint(values * INT8_SCALE), -128, 127).astype("i2")
    return scaled


def _bits(embedding: Embedding) -> npt.NDArray[np.uint8]:
    """A bit for each number, set where it is not negative; the first one is the highest."""
    values = np.frombuffer(embedding.values, "<f4")
    if len(values) % BITS:
        raise InvalidRequestError(
            f"binary embeddings need a multiple of {BITS} dimensions, but there are {len(values)}",
            "embedding_types",
        )
    return np.packbits(values >= 0)


def _integers(values: npt.NDArray[Any]) -> bytes:
    return b"[%b]" % ",".join(map(str, values.tolist())).encode()


FORMS: Mapping[str, Callable[[Embedding], Iterator[bytes]]] = {
    "float": as_floats,
    "int8": _as_int8,
    "uint8": _as_uint8,
    "binary": _as_signed_bits,
    "ubinary": _as_bits,
    "base64": as_base64,
}
"""Cohere's embedding types."""
