"""A thread that looks once a second at the steps, threads and event loops of this process."""

import asyncio
import faulthandler
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from server.host.metrics import counter, gauge
from server.host.watch.stacks import describe_threads

if TYPE_CHECKING:
    from server.host.watch.service import RunningStep, WatchedService

__all__ = ["WATCHDOG", "Watchdog"]

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0

HUNG_FACTOR = 20.0
"""A step that takes so many times what it should, and `hung_after_s`, hangs."""

UNMEASURED_S = 600.0
"""The limit of a step before any was measured: it may compile, or read a model from a slow disk."""

STALL_S = 5.0
"""An event loop that does nothing for so long is reported."""

LOCKED_S = 30.0
"""When no Python code has run for so long, the stacks are written to standard error."""

PAGING = 20
"""Pages read from disk in a look; with more, the machine is slow, and the time does not count."""

HUNG_STEPS = counter("server:hung_steps", "Steps of models that were given up", "service")
DEAD_THREADS = counter("server:dead_threads", "Threads that ended although they must not", "thread")
LOOP_STALLS = counter("server:event_loop_stalls", "Stalls of an event loop of more than 5 s")
STALLED_S = gauge("server:event_loop_stalled_seconds", "How long the event loop has done nothing")


@dataclass(eq=False, slots=True)
class _GuardedThread:
    thread: threading.Thread
    on_death: Callable[[str], None]


class _WatchedLoop:
    """Asks an event loop for a sign of life; counts the seconds until it comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.is_reported = self.is_fatal = False
        self.stalled_s = 0.0
        self._is_answered = True

    def look(self, seconds: float) -> None:
        """Count the time since the last look, and ask again if there was an answer."""
        if not self._is_answered:
            self.stalled_s += seconds
            return
        if self.is_reported:
            logger.warning("the event loop goes on after about %.0f s", self.stalled_s)
        self.is_reported, self.stalled_s = False, 0.0
        self._is_answered = False
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # it is closed
            self._is_answered = True

    def _answer(self) -> None:
        self._is_answered = True


class Watchdog:
    """Gives up steps that hang, and ends the process, by `on_fatal`, where nothing else helps.

    A step hangs when it takes HUNG_FACTOR times what it should and `hung_after_s`; 0 never. What a
    user's node does for one request hangs after `hung_node_after_s`; 0 never. Time in which the
    process was stopped, or waited for the disk, does not count. An event loop that stalls
    for `stalled_after_s` is fatal; 0 never. `on_fatal` is called at most once.
    """

    def __init__(self) -> None:
        self.hung_after_s = 30.0
        self.hung_node_after_s = 600.0
        self.stalled_after_s = 0.0
        self.on_fatal: Callable[[str], None] | None = None
        self._lock = threading.Lock()
        self._services: set[WatchedService] = set()
        self._threads: set[_GuardedThread] = set()
        self._loop: _WatchedLoop | None = None
        self._thread: threading.Thread | None = None
        self._has_failed = False
        STALLED_S.set_function(lambda: 0.0 if self._loop is None else self._loop.stalled_s)

    def add(self, service: "WatchedService") -> None:
        """Watch the steps of a service."""
        with self._lock:
            self._services.add(service)
        self._start()

    def remove(self, service: "WatchedService") -> None:
        """Watch a service no longer."""
        with self._lock:
            self._services.discard(service)

    def is_busy(self, besides: "WatchedService") -> bool:
        """Whether a step of another service runs, apart from those that hang."""
        with self._lock:
            others = self._services - {besides}
        return any(not step.is_hung for service in others for step in service.steps())

    def guard(self, thread: threading.Thread, on_death: Callable[[str], None]) -> None:
        """Call `on_death` with the reason if a thread ends before `release`."""
        with self._lock:
            self._threads.add(_GuardedThread(thread, on_death))
        self._start()

    def release(self, thread: threading.Thread) -> None:
        """Let a thread end."""
        with self._lock:
            self._threads = {each for each in self._threads if each.thread is not thread}

    def watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the event loop that serves; there is one in a process."""
        self._loop = _WatchedLoop(loop)
        self._start()

    @property
    def is_loop_stalled(self) -> bool:
        """Whether the event loop does nothing now, for some seconds at least."""
        return self._loop is not None and self._loop.stalled_s > STALL_S

    def fail(self, reason: str) -> None:
        """Say that this process cannot serve any more; it ends where somebody has asked for that.

        Without `on_fatal`, in somebody else's program, it is logged and no more.
        """
        if not self._has_failed:
            self._has_failed = True
            logger.critical("%s", reason)
            if self.on_fatal is not None:
                self.on_fatal(reason)

    def look(self, seconds: float) -> None:
        """Look once; `seconds` have passed since the last time, as far as they count."""
        with self._lock:
            services, threads = tuple(self._services), tuple(self._threads)
        for service in services:
            for step in service.steps():
                self._look_at_step(service, step, seconds)
        for guarded in threads:
            if guarded.thread.ident is not None and not guarded.thread.is_alive():
                self._report_death(guarded)
        if self._loop is not None:
            self._look_at_loop(self._loop, seconds)

    def _look_at_step(self, service: "WatchedService", step: "RunningStep", seconds: float) -> None:
        if not step.is_known:
            # It may have begun a moment ago.
            step.is_known = True
            return
        step.watched_s += seconds
        if step.is_hung or (excess := self._find_excess(step)) is None:
            return
        step.is_hung = True
        HUNG_STEPS.labels(step.name).inc()
        reason = f"a step hangs: it has run for {monotonic() - step.started_at:.0f} s; {excess}"
        logger.error("%s: %s. All threads:\n%s", step.name, reason, describe_threads())
        _call(step.give_up or service.give_up, reason)

    def _find_excess(self, step: "RunningStep") -> str | None:
        """What a step should take, if it has taken far more than that."""
        if step.limit_s is not None:
            is_over = 0 < step.limit_s < step.watched_s
            return f"it may take {step.limit_s:g} s" if is_over else None
        if not self.hung_after_s or step.watched_s <= self.hung_after_s:
            return None
        expected_s = step.expected_s()
        if expected_s is None:
            is_over = step.watched_s > UNMEASURED_S
            return f"no step was measured, and it may take {UNMEASURED_S:g} s" if is_over else None
        is_over = step.watched_s > HUNG_FACTOR * expected_s
        return f"it should take {expected_s:.3g} s" if is_over else None

    def _report_death(self, guarded: _GuardedThread) -> None:
        self.release(guarded.thread)
        DEAD_THREADS.labels(guarded.thread.name).inc()
        reason = f"the thread {guarded.thread.name!r} has ended unexpectedly"
        logger.error("%s. All threads:\n%s", reason, describe_threads())
        _call(guarded.on_death, reason)

    def _look_at_loop(self, watched: _WatchedLoop, seconds: float) -> None:
        watched.look(seconds)
        if watched.stalled_s > STALL_S and not watched.is_reported:
            watched.is_reported = True
            LOOP_STALLS.inc()
            logger.error(
                "the event loop has done nothing for %.0f s. All threads:\n%s",
                watched.stalled_s,
                describe_threads(),
            )
        if self.stalled_after_s and watched.stalled_s > self.stalled_after_s:
            self.fail(f"the event loop has done nothing for {watched.stalled_s:.0f} s")

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        last, last_faults = monotonic(), _page_faults()
        pause = threading.Event()
        while True:
            if self.on_fatal is not None and sys.__stderr__ is not None:
                # It needs no interpreter lock, which C code may hold for ever: then nothing here
                # runs, and the stacks on standard error are all that tells of it.
                faulthandler.dump_traceback_later(LOCKED_S, file=sys.__stderr__)
            pause.wait(INTERVAL_S)
            now, faults = monotonic(), _page_faults()
            # More, and the whole process was stopped meanwhile.
            seconds = min(now - last, 2 * INTERVAL_S)
            is_paging = faults - last_faults > PAGING
            last, last_faults = now, faults
            try:
                self.look(0.0 if is_paging else seconds)
            except Exception:
                logger.exception("the watchdog failed to look; it goes on")


def _page_faults() -> int:
    """How many pages this process has had to read from disk."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _call(function: Callable[[str], None], reason: str) -> None:
    try:
        function(reason)
    except Exception:
        logger.exception("giving up failed")


WATCHDOG = Watchdog()
