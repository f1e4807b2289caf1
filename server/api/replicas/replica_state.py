"""What a replica tells its front of itself with each answer, in a header that no client gets."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

from aiohttp import web

from server.models.model_manager import ModelManager

__all__ = ["STATE_HEADER", "ReplicaState", "state_of", "state_signal"]

STATE_HEADER = "X-Replica-State"

Signal = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


class ReplicaState(StrEnum):
    """LOADING until the first load is over, also where models failed; STOPPING refuses requests."""

    LOADING = "loading"
    SERVING = "serving"
    STOPPING = "stopping"


def state_signal(manager: ModelManager) -> Signal:
    """Adds the header to each answer of a replica."""

    async def add_state(_: web.Request, response: web.StreamResponse) -> None:
        if manager.is_closing:
            state = ReplicaState.STOPPING
        else:
            state = ReplicaState.SERVING if manager.has_loaded else ReplicaState.LOADING
        response.headers[STATE_HEADER] = state

    return add_state


def state_of(headers: Mapping[str, str]) -> ReplicaState:
    """The state in the headers of an answer. Raises ValueError if there is none."""
    return ReplicaState(headers.get(STATE_HEADER, ""))
