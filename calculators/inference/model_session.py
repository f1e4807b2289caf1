"""A model of the same server, as other graphs use it."""

from contextvars import ContextVar

from server.errors import GenerationError, InvalidRequestError
from server.graph import Servables
from server.payloads import InferRequest, InferResponse

__all__ = ["ModelSession"]

# Graphs that use each other in a circle would call each other without end.
MAX_DEPTH = 8

_depth: ContextVar[int] = ContextVar("depth of sessions in sessions", default=0)


class ModelSession:
    """Sends requests to the model of a name. It may be loaded later, or replaced at any time."""

    def __init__(self, servables: Servables, name: str, version: str | None) -> None:
        self._servables = servables
        self._name = name
        self._version = version

    async def infer(self, request: InferRequest) -> InferResponse:
        """The answer of the model. Raises RequestError."""
        graph = self._servables.get(self._name, self._version)
        mismatch = graph.find_mismatch(InferRequest, InferResponse)
        if mismatch is not None:
            raise InvalidRequestError(f"model {self._name!r} takes no tensors: it {mismatch}")
        token = _depth.set(_depth.get() + 1)
        try:
            if _depth.get() > MAX_DEPTH:
                raise InvalidRequestError(
                    f"model {self._name!r} was reached through {MAX_DEPTH} other graphs; do graphs "
                    f"use each other in a circle?"
                )
            async with graph.start_run(request) as run:
                async for response in run:
                    assert isinstance(response, InferResponse)
                    return response
        finally:
            _depth.reset(token)
        raise GenerationError(f"model {self._name!r} ended without an answer")
