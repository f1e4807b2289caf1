"""Reads the tensors of .safetensors files, without the library of that name.

https://github.com/huggingface/safetensors#format
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from server.host.regular_files import open_regular

__all__ = ["read_header", "read_safetensors"]

MAX_HEADER_BYTES = 100 * 2**20
DTYPES: Mapping[str, Any] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_header(path: Path) -> tuple[dict[str, Any], Any, int]:
    """The description of each tensor, the metadata, and where the tensors begin.

    Raises OSError, or ValueError for a file of another kind.
    """
    with open_regular(path) as file:
        return _read_header(file)


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of floats by their names, as f32.

    Raises OSError, or ValueError for a file of another kind.
    """
    with open_regular(path) as file:
        entries, _, start = _read_header(file)
        try:
            num_bytes = sum(map(_num_bytes, entries.values()))
            file.seek(start)
            # Not all of it: a file may be far longer than its tensors say.
            data = memoryview(file.read(num_bytes))
            return {name: _tensor(data, entry) for name, entry in entries.items()}
        except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise ValueError(f"is no safetensors file of floats: {error!r}") from error


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], Any, int]:
    size = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(size)) if 2 <= size <= MAX_HEADER_BYTES else None
    except (ValueError, RecursionError) as error:
        raise ValueError("is no safetensors file") from error
    if not isinstance(header, dict):
        raise ValueError("is no safetensors file")
    return header, header.pop("__metadata__", None), 8 + size


def _num_bytes(entry: Mapping[str, Any]) -> int:
    begin, end = entry["data_offsets"]
    num_bytes: int = math.prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize
    if end - begin != num_bytes:
        raise ValueError(f"data_offsets {begin} to {end} are not the {num_bytes} bytes of a tensor")
    return num_bytes


def _tensor(data: memoryview, entry: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(data):
        raise ValueError(f"data_offsets {begin} to {end} are beyond its {len(data)} bytes")
    values = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False).reshape(entry["shape"])
