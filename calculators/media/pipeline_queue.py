"""The queue in front of a pipeline that serves one request at a time."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.errors import ModelNotReadyError

__all__ = ["PipelineQueue"]

T = TypeVar("T")

MAX_WAITING = 64


class PipelineQueue:
    """Runs one job after the other in a thread of its own; at most `max_waiting` others wait."""

    def __init__(self, name: str, max_waiting: int = MAX_WAITING) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._max_waiting = max_waiting
        self._num_waiting = 0
        # A job that waits holds nothing but its place here, and leaves at once when cancelled.
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[[threading.Event], T]) -> T:
        """Wait for a turn, run `work`, and return its result or raise its error.

        The event is set when nobody wants the result any more: `work` looks at it between steps and
        ends early. The next job starts after it has ended. Raises ModelNotReadyError if the queue
        is full.
        """
        await self._wait_for_turn()
        cancelled = threading.Event()
        try:
            job = asyncio.get_running_loop().run_in_executor(self._threads, work, cancelled)
        except BaseException:
            self._turn.release()
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
        return {"running": int(self._turn.locked()), "waiting": self._num_waiting}

    async def _wait_for_turn(self) -> None:
        if self._num_waiting >= self._max_waiting:
            raise ModelNotReadyError(
                f"{self._num_waiting} requests wait for this model already; no more can wait"
            )
        self._num_waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._num_waiting -= 1

    def _end(self, job: "asyncio.Future[T]") -> None:
        self._turn.release()
        if not job.cancelled():
            # Mark the error as retrieved: after a cancellation nobody awaits it.
            job.exception()
