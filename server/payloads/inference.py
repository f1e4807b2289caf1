"""Tensors in, tensors out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.tensors import Tensor

__all__ = ["InferRequest", "InferResponse"]


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Tensors for a model. `outputs` names the outputs to return; empty means all.

    `parameters` are the client's own; a node may know them.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The tensors that the model returned."""

    outputs: tuple[Tensor, ...]
