"""One load of a model, which may take minutes, or hang for ever; nobody can tell for certain."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any

from server.errors import ModelLoadError
from server.host.metrics import gauge
from server.host.watch import ABANDONED, Activity, describe_threads, threads_named

__all__ = ["Load", "LoadLimits", "leave_alone"]

logger = logging.getLogger(__name__)

LOOK_S = 1.0
# Others wait for a load no longer when it has taken so long, or done nothing for so long.
MAX_AHEAD_S, MAX_IDLE_S = 600.0, 20.0
# After that, and then each time when twice as much has passed, the log tells of it.
FIRST_NEWS_S = 60.0

LOADING_S = gauge("server:model_loading_seconds", "How long the model is being loaded", "name")


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """A load that takes longer than `timeout_s` fails; 0 waits for ever."""

    timeout_s: float = 0.0


class Load:
    """A load in one or more parts; `stage` is what it does now, in `node` if that has begun.

    When it `is_late`, others are loaded, and it goes on by itself. When it `is_over`, its result is
    not wanted any more. `on_timeout` gets the error of a load that took longer than is allowed.
    """

    def __init__(
        self, label: str, timeout_s: float, on_timeout: Callable[[ModelLoadError], None]
    ) -> None:
        self.stage = "reading its files"
        self.node = ""
        self.is_late = False
        self.task: asyncio.Task[Any] | None = None
        self._label = label
        self._timeout_s = timeout_s
        self._on_timeout = on_timeout
        self.is_over = False
        self._watch: asyncio.Task[None] | None = None
        self._start()

    def __str__(self) -> str:
        idle_s = self._activity.idle_s
        idle = f"; this process has done nothing for {idle_s:.0f} s" if idle_s > MAX_IDLE_S else ""
        return f"still loading after {self._elapsed_s:.0f} s: {self.stage}{idle}"

    async def run(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Do a part; False if it goes on as `task`, because it is late or was given up.

        A thread cannot be stopped, so who is cancelled here waits for the end all the same.
        """
        self._start()
        # Its threads get its name.
        self.task = task = asyncio.create_task(work, name=f"load {self._label}")
        go_on = asyncio.Event()
        self._watch = asyncio.create_task(self._follow(task, go_on))
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        if self.is_over or not task.done():
            return False
        task.result()
        return True

    def give_up(self) -> None:
        """Leave its threads alone. What they make is closed when they come back."""
        self.is_over = True
        if self.task is not None:
            self.task.cancel()
        for thread in threads_named(f"load {self._label}"):
            ABANDONED.add(thread)

    @property
    def _elapsed_s(self) -> float:
        return monotonic() - self._started_at

    def _start(self) -> None:
        self._started_at = monotonic()
        self._next_news_s = FIRST_NEWS_S
        self._activity = Activity()

    async def _follow(self, task: "asyncio.Task[Any]", go_on: asyncio.Event) -> None:
        seconds = LOADING_S.labels(self._label)
        while not (task.done() or self.is_over):
            await asyncio.wait([task], timeout=LOOK_S)
            if not task.done():
                seconds.set(self._elapsed_s)
                self._look()
            if task.done() or self.is_over or self.is_late:
                go_on.set()
        seconds.set(0)

    def _look(self) -> None:
        self._activity.look()
        if self._elapsed_s >= self._next_news_s:
            self._next_news_s *= 2
            self._tell()
        is_idle = self._activity.idle_s >= MAX_IDLE_S
        if not self.is_late and (is_idle or self._elapsed_s >= MAX_AHEAD_S):
            self.is_late = True
            logger.warning("Model %s is %s. Other models do not wait for it", self._label, self)
        if 0 < self._timeout_s <= self._elapsed_s:
            self.give_up()
            self._on_timeout(
                ModelLoadError(
                    f"it was not loaded within {self._timeout_s:g} s, which "
                    f"--load_timeout_seconds allows: {self.stage}"
                )
            )

    def _tell(self) -> None:
        is_idle = self._activity.idle_s >= MAX_IDLE_S
        stacks = describe_threads(f"load {self._label}") if is_idle else ""
        logger.warning("Model %s is %s%s", self._label, self, f"\n{stacks}" if stacks else "")


def leave_alone(task: "asyncio.Task[None]") -> None:
    """Tell of a task that closes a graph and hangs; its threads have its name."""
    name = task.get_name()
    logger.error("%s: a node hangs\n%s", name, describe_threads(name))
    for thread in threads_named(name):
        ABANDONED.add(thread)
