"""Reads the tensors of a small .safetensors file, without the library of that name.

https://github.com/huggingface/safetensors#format
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.errors import ModelLoadError

__all__ = ["read_safetensors"]

DTYPES: Mapping[str, Any] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of floats by their names, as f32. Raises ModelLoadError."""
    try:
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        return {
            name: _tensor(data[start:], entry)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"{path}: is no safetensors file of floats: {error!r}") from error


def _tensor(data: bytes, entry: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    begin, end = entry["data_offsets"]
    values = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32).reshape(entry["shape"])
