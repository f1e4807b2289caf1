"""Threads that run inferences, and that the watchdog watches."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from server.errors import ModelNotReadyError
from server.graph.containment import Containment
from server.host.watch import ABANDONED, WatchedService
from server.host.watch.service import RunningStep

__all__ = ["WatchedThreads"]

T = TypeVar("T")

CLOSE_POLL_S = 0.01


class WatchedThreads:
    """Runs work in `num_threads` threads, in order.

    When work hangs, all callers get a ModelNotReadyError with the reason, which is `failure` from
    then on. The threads take no more; the model has to be loaded again, with new ones.
    """

    def __init__(self, num_threads: int, name: str) -> None:
        self.failure: str | None = None
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self._open: set[asyncio.Future[Any]] = set()
        self._running: dict[RunningStep, threading.Thread] = {}
        self._watch = WatchedService(name, self._give_up, lambda: len(self._open))

    def submit(self, work: Callable[[], T], size: float = 1.0) -> "asyncio.Future[T]":
        """Start `work`, or let it wait; cancelling keeps it from starting, and does no more.

        `size`, in any unit, tells the watchdog how much work it is beside earlier work. An error
        that is no Exception becomes a RuntimeError. Raises ModelNotReadyError after a hang.
        """
        if self.failure is not None:
            raise ModelNotReadyError(self.failure)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        job = loop.run_in_executor(
            self._threads, copy_context().run, self._run, work, max(size, 1.0)
        )
        self._open.add(outcome)
        outcome.add_done_callback(self._open.discard)
        outcome.add_done_callback(lambda _: job.cancel())
        job.add_done_callback(partial(_copy, outcome))
        return outcome

    def close(self) -> bool:
        """Wait for what runs, unless it hangs; returns whether nothing runs any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._watch.steps() and self.failure is None:
            time.sleep(CLOSE_POLL_S)
        self._watch.close()
        return self.failure is None

    def _run(self, work: Callable[[], T], size: float) -> T:
        with Containment(), self._watch.step(size) as step:
            self._running[step] = threading.current_thread()
            try:
                return work()
            finally:
                del self._running[step]

    def _give_up(self, reason: str) -> None:
        self.failure = f"the model is not ready: {reason}"
        self._watch.close()
        for step, thread in tuple(self._running.items()):
            if step.is_hung:
                ABANDONED.add(thread)
        for outcome in tuple(self._open):
            try:
                outcome.get_loop().call_soon_threadsafe(_fail, outcome, self.failure)
            except RuntimeError:  # its loop has ended, and with it whoever would care
                continue


def _copy(outcome: "asyncio.Future[Any]", job: "asyncio.Future[Any]") -> None:
    if job.cancelled():
        outcome.cancel()
        return
    error = job.exception()
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(job.result())


def _fail(outcome: "asyncio.Future[Any]", reason: str) -> None:
    if not outcome.done():
        outcome.set_exception(ModelNotReadyError(reason))
