"""Tensors of the KServe protocol <-> tensors of OpenVINO."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import openvino as ov

from server.tensors import Tensor, join_elements

__all__ = ["datatype_of", "from_openvino", "numpy_type", "to_openvino"]

_TYPES: Mapping[str, ov.Type] = MappingProxyType(
    {
        "BOOL": ov.Type.boolean,
        "UINT8": ov.Type.u8,
        "UINT16": ov.Type.u16,
        "UINT32": ov.Type.u32,
        "UINT64": ov.Type.u64,
        "INT8": ov.Type.i8,
        "INT16": ov.Type.i16,
        "INT32": ov.Type.i32,
        "INT64": ov.Type.i64,
        "FP16": ov.Type.f16,
        "BF16": ov.Type.bf16,
        "FP32": ov.Type.f32,
        "FP64": ov.Type.f64,
        "BYTES": ov.Type.string,
    }
)


def datatype_of(element_type: ov.Type) -> str | None:
    """KServe's name of an OpenVINO type; None for a type that KServe does not have."""
    return next((name for name, known in _TYPES.items() if known == element_type), None)


def numpy_type(datatype: str) -> Any:
    """numpy's type of a datatype; not for BYTES and BF16."""
    return np.dtype(_TYPES[datatype].to_dtype())


def to_openvino(tensor: Tensor) -> Any:
    """Copy a tensor to memory of OpenVINO."""
    element_type = _TYPES[tensor.datatype]
    copy = ov.Tensor(element_type, ov.Shape(tensor.shape))
    if tensor.num_elements == 0:
        return copy
    if element_type == ov.Type.string:
        # From a list: numpy's strings lose zeros at their ends.
        copy = ov.Tensor(list(tensor.elements()))
        copy.shape = tensor.shape
        return copy
    _raw_bytes(copy)[:] = np.frombuffer(tensor.data, np.uint8)
    return copy


def from_openvino(name: str, tensor: Any) -> Tensor:
    """Copy a tensor out of memory of OpenVINO."""
    datatype = datatype_of(tensor.element_type)
    assert datatype is not None, f"{name} has type {tensor.element_type}"
    if tensor.size == 0:
        data = b""
    elif datatype == "BYTES":
        data = join_elements(tensor.bytes_data.ravel().tolist())
    else:
        data = _raw_bytes(tensor).tobytes()
    return Tensor(name, datatype, tuple(tensor.shape), data)


def _raw_bytes(tensor: Any) -> Any:
    """The memory of a tensor of numbers."""
    # A scalar has no axis whose items could be seen as bytes.
    return tensor.data.reshape(-1).view(np.uint8)
