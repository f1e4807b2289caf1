"""The middle of the last measurements of one kind, which is believed as long as it deserves."""

from collections import deque
from statistics import median_low

NUM_SAMPLES = 9
"""The last measurements that count."""

LEAST_SAMPLES = 2
"""With fewer, nothing is sure."""

MAX_DOUBLINGS = 5


class Samples:
    """Measurements of one kind, at times that some caller counts.

    What depends on them may be avoided because they are slow, and then there are no new ones. So
    `middle` forgets them after a while: two of them after `patience`, three after twice as long,
    and so on, as few of them may have been bad luck. A new one that confirms them is added; a
    better one replaces them.
    """

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=NUM_SAMPLES)
        self._last = 0.0

    def add(self, value: float, now: float, patience: float) -> None:
        """Add a measurement."""
        if self._is_old(now, patience) and value < self.any_middle:
            self._values.clear()
        self._values.append(value)
        self._last = now

    def middle(self, now: float, patience: float) -> float | None:
        """Their median, of an even number the lower one; None if it is not to be believed."""
        if len(self._values) < LEAST_SAMPLES or self._is_old(now, patience):
            return None
        return self.any_middle

    @property
    def any_middle(self) -> float:
        """The same, however few or old they are; there is at least one."""
        return median_low(self._values)

    def _is_old(self, now: float, patience: float) -> bool:
        num_doublings = min(max(0, len(self._values) - LEAST_SAMPLES), MAX_DOUBLINGS)
        return bool(self._values) and now - self._last > patience * (1 << num_doublings)
