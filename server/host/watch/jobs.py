"""Work of others in threads: it may hang, and then its thread is left alone and replaced."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import contextmanager
from functools import cache, partial
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from server.host.metrics import gauge
from server.host.watch.service import RunningStep, WatchedService
from server.host.watch.watchdog import WATCHDOG

__all__ = ["ABANDONED", "AbandonedThreads", "ReplacedThreads", "watched_job"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_ABANDONED = 16
"""Each keeps its memory, and perhaps a processor and locks; with more, a new process is better."""

IDLE_S = 10.0
"""A thread without work ends after this."""


class AbandonedThreads:
    """Threads that hang: nobody waits for them, and too many of them end the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        metric = gauge("server:abandoned_threads", "Threads that hang, and were given up")
        metric.set_function(lambda: len(self))

    def __len__(self) -> int:
        with self._lock:
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            return len(self._threads)

    def add(self, thread: threading.Thread) -> None:
        """Note that a thread hangs, until it ends after all."""
        with self._lock:
            self._threads.add(thread)
            names = ", ".join(sorted({each.name for each in self._threads}))
        if (num_alive := len(self)) > MAX_ABANDONED:
            WATCHDOG.fail(f"{num_alive} threads hang, and {MAX_ABANDONED} may: {names}")


ABANDONED = AbandonedThreads()


@contextmanager
def watched_job(name: str, give_up: Callable[[str], None]) -> Iterator[RunningStep]:
    """Let the watchdog call `give_up` with the reason if the block takes longer than a node may.

    That is called in the watchdog's thread, once, and must return soon.
    """
    service = _service()
    job = service.begin(lambda: None)
    job.name, job.give_up, job.limit_s = name, give_up, WATCHDOG.hung_node_after_s
    try:
        yield job
    finally:
        service.end(job)


@cache
def _service() -> WatchedService:
    """One for all jobs: there may be many kinds of them, and each comes and goes."""
    return WatchedService("jobs", lambda _: None)


class ReplacedThreads(Executor):
    """At most `max_threads` daemon threads. One that hangs is replaced by another.

    Its work ends with the error that `on_hung` makes of the time at which the work began.
    """

    def __init__(
        self, name: str, max_threads: int, on_hung: Callable[[float], BaseException]
    ) -> None:
        self._name = name
        self._max_threads = max_threads
        self._on_hung = on_hung
        self._changed = threading.Condition()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._num_threads = 0
        self._num_idle = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a function as soon as there is a thread. Raises RuntimeError if none can start."""
        future: Future[T] = Future()
        with self._changed:
            self._jobs.append((future, partial(fn, *args, **kwargs)))
            self._changed.notify()
            try:
                self._add_thread()
            except RuntimeError:
                if not self._num_threads:
                    self._jobs.clear()
                    raise
        return future

    def _add_thread(self) -> None:
        if len(self._jobs) > self._num_idle and self._num_threads < self._max_threads:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._num_threads += 1

    def _work(self) -> None:
        while (job := self._next()) is not None:
            future, function = job
            if not future.set_running_or_notify_cancel():
                continue
            give_up = partial(self._give_up, threading.current_thread(), future, monotonic())
            with watched_job(self._name, give_up) as watched:
                _finish(future, function)
            if watched.is_hung:
                return

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._num_idle += 1
            has_work = self._changed.wait_for(lambda: self._jobs, IDLE_S)
            self._num_idle -= 1
            if has_work:
                return self._jobs.popleft()
            self._num_threads -= 1
            return None

    def _give_up(
        self, thread: threading.Thread, future: "Future[Any]", started_at: float, _: str
    ) -> None:
        with self._changed:
            self._num_threads -= 1
            self._add_thread()
        _settle(future.set_exception, self._on_hung(started_at))
        ABANDONED.add(thread)


def _finish(future: "Future[Any]", function: Callable[[], Any]) -> None:
    try:
        result = function()
    except BaseException as error:
        _settle(future.set_exception, error)
    else:
        _settle(future.set_result, result)


def _settle(settle: Callable[[Any], None], outcome: object) -> None:
    try:
        settle(outcome)
    except InvalidStateError:  # it was given up before
        logger.warning("a thread that was given up has come back")
