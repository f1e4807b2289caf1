"""The module that Python nodes written for OpenVINO Model Server import."""

from calculators.python_nodes.py_tensor import Tensor

__all__ = ["Tensor"]
