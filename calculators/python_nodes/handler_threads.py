"""Threads for code that may take any time, and that nobody can interrupt."""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from server.errors import ModelNotReadyError, NodeHungError
from server.graph.containment import Containment
from server.graph.nodes.node_work import CURRENT_NODE
from server.host.watch import ABANDONED, WATCHDOG, watched_job

__all__ = ["HandlerThread", "HandlerThreads"]

T = TypeVar("T")
Job = Callable[[], None]

MAX_THREADS = 64
# Runs that wait for a thread. More would wait for minutes.
MAX_WAITING = 1024


class HandlerThread:
    """Does the work of one run, one job after another.

    When a job hangs, who waits for it gets the error that `on_hung` makes of the job's start.
    """

    def __init__(self, name: str, on_hung: Callable[[float], Exception]) -> None:
        self._name = name
        self._on_hung = on_hung
        self._fail: Callable[[Exception], None] = lambda _: None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        # A daemon: a handler that never returns must not keep the server from ending.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` after the jobs before it, in the caller's context, and wait for it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._fail = lambda error: _call_in(loop, partial(_finish, done, done.set_exception, error))
        self.submit(partial(_run_for, loop, done, partial(copy_context().run, function)))
        return await done

    def submit(self, job: Job) -> None:
        """Run `job` after those before it; it must not raise."""
        self._jobs.put(job)

    def end(self) -> None:
        """Let the thread end after its jobs."""
        self._jobs.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; returns whether it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with watched_job(self._name, partial(self._give_up, time.monotonic())):
                job()

    def _give_up(self, started_at: float, _: str) -> None:
        self._fail(self._on_hung(started_at))
        ABANDONED.add(self._thread)


class HandlerThreads:
    """At most MAX_THREADS at a time; at most MAX_WAITING others wait, in order.

    One that hangs does not count, and nobody waits for it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: set[HandlerThread] = set()
        self._free = asyncio.Semaphore(MAX_THREADS)
        self._num_waiting = 0
        self._num_hung = 0

    @asynccontextmanager
    async def take(self) -> AsyncIterator[HandlerThread]:
        """A thread for the block. Its place is free when its last job has ended.

        Raises ModelNotReadyError if too many wait already.
        """
        if self._num_waiting >= MAX_WAITING:
            raise ModelNotReadyError(f"{MAX_WAITING} requests wait for node {self._name!r}")
        self._num_waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._num_waiting -= 1
        loop, work = asyncio.get_running_loop(), CURRENT_NODE.get()

        def release() -> None:
            _call_in(loop, partial(self._release, thread))

        def give_up(started_at: float) -> Exception:
            self._num_hung += 1
            release()
            limit_s = WATCHDOG.hung_node_after_s
            assert work is not None, "it is set in each run"
            return NodeHungError(work.note_hung(started_at, limit_s))

        thread = HandlerThread(self._name, give_up)
        self._threads.add(thread)
        try:
            yield thread
        finally:
            thread.submit(release)
            thread.end()

    def join(self, timeout_s: float) -> int:
        """Wait for all threads; returns how many still work after that time."""
        deadline = time.monotonic() + timeout_s
        threads = tuple(self._threads)
        return sum(not thread.join(max(0.0, deadline - time.monotonic())) for thread in threads)

    def status(self) -> dict[str, object]:
        """How many runs have a thread and wait for one, and how many threads were given up."""
        return {
            "running": len(self._threads),
            "waiting": self._num_waiting,
            "given_up": self._num_hung,
        }

    def _release(self, thread: HandlerThread) -> None:
        # One that was given up may come back.
        if thread in self._threads:
            self._threads.discard(thread)
            self._free.release()


def _run_for(
    loop: asyncio.AbstractEventLoop, done: "asyncio.Future[T]", function: Callable[[], T]
) -> None:
    try:
        with Containment():
            result = function()
    except Exception as error:
        _call_in(loop, partial(_finish, done, done.set_exception, error))
    else:
        _call_in(loop, partial(_finish, done, done.set_result, result))


def _finish(done: "asyncio.Future[Any]", finish: Callable[[Any], None], outcome: object) -> None:
    if not done.done():
        finish(outcome)


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        # The loop has ended, and with it whoever would care.
        return
