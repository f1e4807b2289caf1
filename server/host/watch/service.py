"""A service as the watchdog sees it: what runs, since when, how long it may take, giving up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from server.host.watch.watchdog import WATCHDOG

__all__ = ["WatchedService"]

FORGETTING = 0.95
"""A high cost is forgotten slowly: a step is compared with the slowest of the last ones."""


@dataclass(eq=False, slots=True)
class RunningStep:
    """A step since its begin; `watched_s` counts only time in which the machine let it run.

    One with a `limit_s` hangs when it takes longer than that, whatever others took; 0 never.
    `give_up` is called for this step alone, in place of the service's.
    """

    started_at: float
    expected_s: Callable[[], float | None]
    name: str
    limit_s: float | None = None
    give_up: Callable[[str], None] | None = None
    watched_s: float = 0.0
    is_known: bool = False
    is_hung: bool = False


class WatchedService:
    """The LLM engine, the batcher of an encoder, a queue of media jobs, ...: one for each model.

    `give_up` is called in the watchdog's thread, once for a step that hangs, with the reason. It
    must return soon: it fails the requests and refuses others. `num_waiting` is how many requests
    wait. All methods may be called from any thread.
    """

    def __init__(
        self,
        name: str,
        give_up: Callable[[str], None],
        num_waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self.give_up = give_up
        self.num_waiting = num_waiting
        self._steps: set[RunningStep] = set()
        self._cost_s: float | None = None
        WATCHDOG.add(self)

    @property
    def busy_since(self) -> float | None:
        """When the oldest of the running steps began, in `time.monotonic()`; None while idle."""
        return min((step.started_at for step in self.steps()), default=None)

    @property
    def is_hung(self) -> bool:
        """Whether a step was found to hang that has not come back."""
        return any(step.is_hung for step in self.steps())

    def steps(self) -> tuple[RunningStep, ...]:
        """The steps that run now."""
        return tuple(self._steps)

    def begin(self, expected_s: Callable[[], float | None]) -> RunningStep:
        """Note that a step begins; `expected_s` tells what it should take, None if unknown."""
        step = RunningStep(monotonic(), expected_s, self.name)
        self._steps.add(step)
        return step

    def end(self, step: RunningStep) -> float:
        """Note the end of a step, however it ended; returns the seconds it took."""
        self._steps.discard(step)
        return monotonic() - step.started_at

    @contextmanager
    def step(self, size: float = 1.0) -> Iterator[RunningStep]:
        """A step of the block's length, compared with earlier ones by its size, in any unit."""
        expected_s = None if self._cost_s is None else self._cost_s * size
        step = self.begin(lambda: expected_s)
        try:
            yield step
        finally:
            self._learn(self.end(step) / size)

    def close(self) -> None:
        """Stop the watch."""
        WATCHDOG.remove(self)

    def _learn(self, cost_s: float) -> None:
        self._cost_s = max(cost_s, (self._cost_s or 0.0) * FORGETTING)
