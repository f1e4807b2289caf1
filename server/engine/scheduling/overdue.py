"""Finds the requests that have waited too long."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from server.engine.scheduling.patience import MAX_WAIT_S
from server.engine.sequence import EngineRequest, Sequence

MAX_STALE = 64
"""Entries of what waits no longer that are kept, beside as many as there are others."""


@dataclass(eq=False, slots=True)
class _Wait:
    """A request that has waiting sequences, and since when."""

    request: EngineRequest
    since_s: float
    sequences: dict[Sequence, None] = field(default_factory=dict)


class Overdue:
    """Marks each request that has waited for MAX_WAIT_S, whatever has gone before it meanwhile.

    What it waits after a preemption counts too. A request stays overdue once it is.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waits: dict[EngineRequest, _Wait] = {}
        # By the time when it becomes overdue; some wait no longer.
        self._heap: list[tuple[float, int, _Wait]] = []
        self._num_added = 0

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait."""
        request = sequence.request
        wait = self._waits.get(request)
        if wait is None:
            wait = self._waits[request] = _Wait(request, self._clock())
            if not request.is_overdue:
                self._num_added += 1
                at_s = wait.since_s + MAX_WAIT_S - request.waited_s
                heappush(self._heap, (at_s, self._num_added, wait))
        wait.sequences[sequence] = None

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence that waits no longer."""
        request = sequence.request
        wait = self._waits[request]
        del wait.sequences[sequence]
        if not wait.sequences:
            request.waited_s += self._clock() - wait.since_s
            del self._waits[request]
            self._forget_stale()

    def update(self) -> list[Sequence]:
        """The waiting sequences of the requests that have become overdue since the last call."""
        now_s = self._clock()
        found: list[Sequence] = []
        while self._heap and self._heap[0][0] <= now_s:
            wait = heappop(self._heap)[-1]
            wait.request.is_overdue |= bool(wait.sequences)
            found += wait.sequences
        return found

    def _forget_stale(self) -> None:
        if len(self._heap) > 2 * len(self._waits) + MAX_STALE:
            self._heap = [entry for entry in self._heap if entry[-1].sequences]
            heapify(self._heap)
