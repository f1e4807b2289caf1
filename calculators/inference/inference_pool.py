"""Threads that run a compiled model, as many as it has infer requests."""

import asyncio
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any, Generic, TypeVar

from calculators.inference.watched_threads import WatchedThreads
from server.graph import UNCOUNTED, Ticket, TurnGate
from server.host.metrics.inferences import INFERENCES

__all__ = ["InferencePool"]

T = TypeVar("T")


class InferencePool:
    """Lends infer requests of a compiled model, at most `num_requests` at a time.

    An infer request is made when all others are lent. Clients that wait take turns. Metrics call
    the model `served_name`; "" is no name there.
    """

    def __init__(self, compiled: Any, num_requests: int, name: str, served_name: str = "") -> None:
        self._compiled = compiled
        self._idle: list[Any] = []
        self._gate = TurnGate(num_requests)
        self._numbers = INFERENCES.open(served_name, num_requests)
        self._threads = WatchedThreads(num_requests, name)

    @property
    def failure(self) -> str | None:
        """Why the pool cannot be used any more: an inference hangs; None where it can."""
        return self._threads.failure

    async def run(
        self, work: Callable[[Any], T], ticket: Ticket = UNCOUNTED, size: float = 1.0
    ) -> T:
        """Run `work` with an infer request in a thread of the pool, when its turn comes.

        `size` is its input in bytes.

        Cancelling removes it from the queue, or ends the inference that runs. The infer request is
        lent again only after that.
        """
        began_s = perf_counter()
        await self._gate.enter(ticket.client)
        ticket.start_all()
        job = _Job(self, work)
        try:
            running = self._threads.submit(job.run, size)
        except BaseException:
            self._gate.leave()
            raise
        running.add_done_callback(lambda _: self._gate.leave())
        try:
            with self._numbers.infer(began_s):
                return await running
        except asyncio.CancelledError:
            job.cancel()
            raise

    def has_state(self) -> bool:
        """Whether the model remembers something from one inference to the next."""
        request = self.take()
        try:
            return bool(request.query_state())
        finally:
            self.give_back(request)

    def take(self) -> Any:
        """Take an idle infer request or make one; there are no more than threads."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()

    def give_back(self, request: Any) -> None:
        """Return what `take` gave."""
        self._idle.append(request)

    def close(self) -> None:
        """Wait for the inferences that run, and free the model."""
        self._threads.close()
        self._idle.clear()
        self._compiled = None


class _Job(Generic[T]):
    """One use of an infer request. The lock keeps `cancel` from hitting the next user of it."""

    def __init__(self, pool: InferencePool, work: Callable[[Any], T]) -> None:
        self._pool = pool
        self._work = work
        self._lock = threading.Lock()
        self._request: Any = None

    def run(self) -> T:
        request = self._pool.take()
        try:
            with self._lock:
                self._request = request
            return self._work(request)
        finally:
            with self._lock:
                self._request = None
            self._pool.give_back(request)

    def cancel(self) -> None:
        with self._lock:
            if self._request is not None:
                self._request.cancel()
