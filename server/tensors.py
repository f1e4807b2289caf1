"""Tensors in the terms of the KServe protocol, as bytes. Standard library only.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType

__all__ = ["ITEM_SIZES", "ModelSignature", "Tensor", "TensorInfo", "join_elements"]

ITEM_SIZES: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 1,
        "UINT8": 1,
        "UINT16": 2,
        "UINT32": 4,
        "UINT64": 8,
        "INT8": 1,
        "INT16": 2,
        "INT32": 4,
        "INT64": 8,
        "FP16": 2,
        "BF16": 2,
        "FP32": 4,
        "FP64": 8,
    }
)
"""Bytes of one element of each datatype; elements of BYTES differ in length."""

MAX_RANK = 32
MAX_DIMENSION = 2**31 - 1
# Each element becomes a Python object, which is much larger than what the client sent.
MAX_BYTES_ELEMENTS = 1_000_000
MAX_DATATYPE_LENGTH = 100

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """Elements in row-major order, little-endian, nothing between them.

    An element of BYTES is its length, in 4 bytes, and then its bytes; one of BOOL is a byte, 0 or
    1. Raises ValueError where shape, datatype and number of bytes do not fit together.

    Clients of Python nodes send data of their own form as BYTES, and datatypes of their own. Such
    data is not looked at here; `check_elements` is for those who read BYTES as KServe describes it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview

    def __post_init__(self) -> None:
        if len(self.shape) > MAX_RANK:
            raise ValueError(f"shape has {len(self.shape)} dimensions; at most {MAX_RANK}")
        for dimension in self.shape:
            if not 0 <= dimension <= MAX_DIMENSION:
                raise ValueError(
                    f"shape has the dimension {dimension}; possible: 0 to {MAX_DIMENSION}"
                )
        if self.datatype not in ITEM_SIZES:
            if len(self.datatype) > MAX_DATATYPE_LENGTH:
                raise ValueError(f"datatype has over {MAX_DATATYPE_LENGTH} characters")
            return
        expected = self.num_elements * ITEM_SIZES[self.datatype]
        if len(self.data) != expected:
            raise ValueError(
                f"shape {list(self.shape)} of {self.datatype} takes {expected} bytes, "
                f"found {len(self.data)}"
            )
        if self.datatype == "BOOL" and bytes(self.data).translate(None, b"\0\1"):
            raise ValueError("an element of BOOL is neither 0 nor 1")

    @property
    def num_elements(self) -> int:
        """How many elements the shape has."""
        return math.prod(self.shape)

    def elements(self) -> Iterator[bytes]:
        """The elements of a tensor of BYTES."""
        view = memoryview(self.data)
        position = 0
        while position < len(view):
            start = position + _LENGTH.size
            if start > len(view):
                raise ValueError(f"the length of an element ends after the data, at byte {start}")
            position = start + _LENGTH.unpack_from(view, position)[0]
            if position > len(view):
                raise ValueError(
                    f"an element ends at byte {position}, but there are {len(view)} bytes of data"
                )
            yield bytes(view[start:position])

    def check_elements(self) -> None:
        """Raise ValueError if the data of BYTES is not as many elements as the shape says."""
        if self.num_elements > MAX_BYTES_ELEMENTS:
            raise ValueError(
                f"shape {list(self.shape)} has {self.num_elements} elements; "
                f"at most {MAX_BYTES_ELEMENTS} of BYTES"
            )
        # Stop at one too many: data may hold millions of empty elements.
        found = sum(1 for _ in islice(self.elements(), self.num_elements + 1))
        if found != self.num_elements:
            has = "more" if found > self.num_elements else str(found)
            raise ValueError(
                f"shape {list(self.shape)} has {self.num_elements} elements, the data {has}"
            )


def join_elements(elements: Iterable[bytes]) -> bytes:
    """The data of a tensor of BYTES."""
    parts: list[bytes] = []
    for element in elements:
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor that a model takes or returns; a dimension of -1 may have any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """The inputs and outputs of a model."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    platform: str = "OpenVINO"
