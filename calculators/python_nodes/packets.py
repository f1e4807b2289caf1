"""Tensors of the graph <-> tensors of the handlers."""

from dataclasses import dataclass

import numpy as np

from calculators.python_nodes.py_tensor import DTYPES
from calculators.python_nodes.py_tensor import Tensor as PyTensor
from server.tensors import Tensor

__all__ = ["PythonPacket", "from_python", "step_of", "to_python"]


@dataclass(frozen=True, slots=True, eq=False)
class PythonPacket(Tensor):
    """What a handler returned. The next handler gets `origin` itself, as it would in OVMS.

    Shape and datatype may be labels that do not describe the data. `step` counts what a generator
    yields.
    """

    origin: PyTensor
    step: int

    def __post_init__(self) -> None:
        """Let the labels be anything."""


def to_python(packet: Tensor) -> PyTensor:
    """What a handler sees; data of a type that numpy lacks is one row of bytes."""
    if isinstance(packet, PythonPacket):
        return packet.origin
    dtype = DTYPES.get(packet.datatype)
    if dtype is None:
        array = np.frombuffer(packet.data, np.uint8)
    else:
        array = np.frombuffer(packet.data, dtype).reshape(packet.shape)
    return PyTensor(packet.name, array, packet.shape, packet.datatype)


def from_python(tensor: PyTensor, step: int) -> PythonPacket:
    """The packet of a handler's tensor; copies only data that is not contiguous."""
    contiguous = np.ascontiguousarray(np.asarray(tensor))
    data = contiguous.reshape(-1).view(np.uint8).data
    return PythonPacket(tensor.name, tensor.datatype, tensor.shape, data, tensor, step)


def step_of(packet: Tensor) -> int:
    """Which of a generator's results it is; 0 for others."""
    return packet.step if isinstance(packet, PythonPacket) else 0
