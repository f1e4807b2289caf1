"""The queue in front of a pipeline that serves one request at a time."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from server.graph import UNCOUNTED, QueueLimits, Ticket, TurnGate

__all__ = ["QUEUE_LIMITS", "PipelineQueue"]

T = TypeVar("T")

# Each may take minutes.
QUEUE_LIMITS = QueueLimits(max_num_queued_requests=64)


class PipelineQueue:
    """Runs one job after the other in a thread of its own; clients take turns."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        # A job that waits holds nothing but its place here, and leaves at once when cancelled.
        self._gate = TurnGate(1)

    async def run(self, work: Callable[[threading.Event], T], ticket: Ticket = UNCOUNTED) -> T:
        """Wait for a turn, run `work`, and return its result or raise its error.

        The event is set when nobody wants the result any more: `work` looks at it between steps and
        ends early. The next job starts after it has ended.
        """
        await self._gate.enter(ticket.client)
        ticket.start_all()
        cancelled = threading.Event()
        try:
            job = asyncio.get_running_loop().run_in_executor(
                self._threads, copy_context().run, work, cancelled
            )
        except BaseException:
            self._gate.leave()
            raise
        job.add_done_callback(self._end)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def close(self) -> None:
        """Wait for the job that runs; to be called when all others were cancelled."""
        self._threads.shutdown()

    def status(self) -> dict[str, object]:
        """How many jobs run and wait."""
        return {"running": self._gate.num_inside, "waiting": self._gate.num_waiting}

    def _end(self, job: "asyncio.Future[T]") -> None:
        self._gate.leave()
        if not job.cancelled():
            # Mark the error as retrieved: after a cancellation nobody awaits it.
            job.exception()
