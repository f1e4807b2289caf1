"""How long steps take, learnt from those that ran."""

from collections import deque
from collections.abc import Callable
from statistics import median

NUM_SAMPLES = 9
"""Samples whose median is believed: a step that took long for a reason of its own does no harm."""

ROWS_PER_REREAD = 8
"""Rows of a chunk that cost as much on a token of the past as to unpack that token for them."""

MIN_CONTEXT = 4096
"""Work on the past below which a step says nothing of what it costs."""


def context_work(num_past: int, num_new: int) -> float:
    """What the past of a sequence adds to a step with `num_new` of its tokens.

    The kernel unpacks the cached keys and values of every token once, and multiplies them with
    every new row; the sum is in tokens that are unpacked.
    """
    return num_past * (1 + num_new / ROWS_PER_REREAD)


class StepCosts:
    """Seconds of a step: a curve over its number of tokens, and a factor for work on the past.

    The curve has a point for each of the sizes that `padded` gives. A smaller step does not take
    longer than a larger one, so that of two points which say so the higher is not believed.
    """

    def __init__(self, padded: Callable[[int], int] = lambda num_tokens: num_tokens) -> None:
        self._padded = padded
        self._samples: dict[int, deque[float]] = {}
        self._factors: deque[float] = deque(maxlen=4 * NUM_SAMPLES)
        self._curve: list[tuple[int, float]] = []
        self._factor = 0.0

    def observe(self, num_tokens: int, context: float, seconds: float) -> None:
        """Learn from a step; `context` is the sum of `context_work`."""
        size = self._padded(num_tokens)
        if context >= MIN_CONTEXT and self._curve:
            self._factors.append(max(0.0, seconds - self._base(size)) / context)
            self._factor = median(self._factors)
        samples = self._samples.setdefault(size, deque(maxlen=NUM_SAMPLES))
        samples.append(max(0.0, seconds - self._factor * context))
        self._curve = self._make_curve()

    def predict(self, num_tokens: int, context: float) -> float:
        """Seconds that a step will take; 0 before any was observed."""
        return self._base(self._padded(num_tokens)) + self._factor * context

    def _make_curve(self) -> list[tuple[int, float]]:
        curve: list[tuple[int, float]] = []
        for size in sorted(self._samples, reverse=True):
            seconds = median(self._samples[size])
            curve.append((size, min(seconds, curve[-1][1]) if curve else seconds))
        return curve[::-1]

    def _base(self, size: int) -> float:
        """The curve at a size: in between on a straight line, beyond its end in proportion."""
        if not self._curve:
            return 0.0
        left_size, left = 0, self._curve[0][1]
        for right_size, right in self._curve:
            if size <= right_size:
                share = (size - left_size) / (right_size - left_size)
                return left + share * (right - left)
            left_size, left = right_size, right
        return left * size / left_size
