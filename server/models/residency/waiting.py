"""What waits for a model to be loaded, in the order of arrival."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from server.errors import copy_error

if TYPE_CHECKING:
    from server.models.residency.group import Group
    from server.models.served_model import ServedModel

__all__ = ["Waiter", "WaitingLine"]


def _new_future() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class Waiter:
    """A request that waits for its model; or a load that a reload asks for, which is `load`.

    `done` gets its result when the request may use the model, or when the load is over.
    """

    model: "ServedModel"
    group: "Group"
    load: Callable[[], Awaitable[None]] | None = None
    since: float = field(default_factory=time.monotonic)
    done: "asyncio.Future[None]" = field(default_factory=_new_future)

    @property
    def was_granted(self) -> bool:
        """Whether the request counts as one that its group is working on."""
        done = self.done
        return done.done() and not done.cancelled() and done.exception() is None

    def fail(self, error: Exception) -> None:
        """Tell who waits that it was in vain."""
        if not self.done.done():
            self.done.set_exception(copy_error(error))
            # Mark it as retrieved: nobody may be waiting any more.
            self.done.exception()


class WaitingLine:
    """The waiters; those that left are not in it."""

    def __init__(self) -> None:
        # A dictionary keeps the order, and removes from the middle at once.
        self._waiters: dict[Waiter, None] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, waiter: Waiter) -> None:
        """Append a waiter."""
        self._waiters[waiter] = None

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter; it need not be there."""
        self._waiters.pop(waiter, None)

    def first(self) -> Waiter | None:
        """The one that has waited longest."""
        return next(iter(self._waiters), None)

    def has(self, group: "Group") -> bool:
        """Whether anybody waits for a group."""
        return any(waiter.group is group for waiter in self._waiters)

    def take_requests(self, model: "ServedModel") -> list[Waiter]:
        """Remove the requests for a model."""
        taken = [w for w in self._waiters if w.model is model and w.load is None]
        for waiter in taken:
            self.remove(waiter)
        return taken

    def take_all(self) -> list[Waiter]:
        """Remove everything."""
        taken = list(self._waiters)
        self._waiters.clear()
        return taken
