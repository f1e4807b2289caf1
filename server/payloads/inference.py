"""Tensors in, tensors out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.payloads.client_request import ClientRequest
from server.tensors import Tensor

__all__ = ["InferRequest", "InferResponse"]

Parameter = bool | int | float | str


@dataclass(frozen=True, slots=True)
class InferRequest(ClientRequest):
    """Tensors for a model. `outputs` names the outputs to return; empty means all.

    `parameters` are the client's own; a node may know them. With `is_streamed` the client takes
    several answers, each with the outputs that are ready; without, it takes the first answer.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    is_streamed: bool = False


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The tensors that the model returned.

    In a stream of answers, those with the same `step` belong together.
    """

    outputs: tuple[Tensor, ...]
    step: int = 0
