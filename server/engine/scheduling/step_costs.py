"""Predicts how long steps take, from those that ran."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from itertools import accumulate
from statistics import median

NUM_SAMPLES = 9
"""Samples whose median counts, so that a single slow step does no harm."""

ROWS_PER_REREAD = 8
"""Multiplying a past token with so many new rows takes as long as unpacking it."""

MIN_CONTEXT = 4096
"""Work on the past below which a step is no evidence for its cost."""

MIN_ROWS = 32
"""Rows for log probabilities of prompts below which a step is no evidence for their cost."""


def context_work(num_past: int, num_new: int) -> float:
    """The work on the past of a sequence in a step with `num_new` of its tokens.

    The kernel unpacks the cached keys and values of every token once and multiplies them with every
    new row. The unit is the unpacking of one token.
    """
    return num_past * (1 + num_new / ROWS_PER_REREAD)


class _Factor:
    """Seconds of one unit of work: the median of what steps took beside all that is known."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=4 * NUM_SAMPLES)
        self.value = 0.0

    def observe(self, seconds: float, amount: float) -> None:
        """Learn from a step."""
        self._samples.append(max(0.0, seconds) / amount)
        self.value = median(self._samples)


class StepCosts:
    """Seconds of a step: a curve over its number of tokens, and factors for what is beside it.

    One factor is for work on the past, the other for rows of the output head that are needed only
    for log probabilities of prompts.

    The curve has a point for each of the sizes that `padded` gives. It is kept monotone: a larger
    step takes at least as long, but not longer for each of its tokens. Where two points contradict
    that, the higher one is lowered. Otherwise a size that was slow once, because the machine was
    busy while the model loaded, would never be tried again.
    """

    def __init__(self, padded: Callable[[int], int] = lambda num_tokens: num_tokens) -> None:
        self.padded = padded
        self._samples: dict[int, deque[float]] = {}
        self._medians: dict[int, float] = {}
        self._context_factor = _Factor()
        self._row_factor = _Factor()
        self._sizes: list[int] = []
        self._seconds: list[float] = []

    def observe(
        self, num_tokens: int, context: float, seconds: float, num_prompt_rows: int = 0
    ) -> None:
        """Learn from a step; `context` is its total of `context_work`."""
        size = self.padded(num_tokens)
        if self._sizes and num_prompt_rows >= MIN_ROWS:
            known = self._base(size) + self._context_factor.value * context
            self._row_factor.observe(seconds - known, num_prompt_rows)
        rest = seconds - self._row_factor.value * num_prompt_rows
        if self._sizes and context >= MIN_CONTEXT and not num_prompt_rows:
            self._context_factor.observe(rest - self._base(size), context)
        rest -= self._context_factor.value * context
        if rest < seconds / 2:
            # It was mostly something whose cost is not known well enough to tell the rest.
            return
        samples = self._samples.setdefault(size, deque(maxlen=NUM_SAMPLES))
        samples.append(rest)
        self._medians[size] = median(samples)
        self._make_curve()

    @property
    def medians(self) -> Mapping[int, float]:
        """Seconds of a step without a past and without prompt rows, by its size."""
        return self._medians

    def predict(self, num_tokens: int, context: float, num_prompt_rows: int = 0) -> float:
        """Seconds that a step will take; 0 before any was observed."""
        of_rows = self._row_factor.value * num_prompt_rows
        base = self._base(self.padded(num_tokens))
        return base + self._context_factor.value * context + of_rows

    def _make_curve(self) -> None:
        self._sizes = sorted(self._medians)
        falling = accumulate((self._medians[size] for size in reversed(self._sizes)), min)
        seconds = list(falling)[::-1]
        of_a_token = accumulate((s / n for s, n in zip(seconds, self._sizes, strict=True)), min)
        self._seconds = [s * n for s, n in zip(of_a_token, self._sizes, strict=True)]

    def _base(self, size: int) -> float:
        """The curve at a size: linear between points, proportional beyond the last one."""
        if not self._sizes:
            return 0.0
        right = bisect_left(self._sizes, size)
        if right == len(self._sizes):
            return self._seconds[-1] * size / self._sizes[-1]
        if right == 0:
            return self._seconds[0]
        left = right - 1
        share = (size - self._sizes[left]) / (self._sizes[right] - self._sizes[left])
        return self._seconds[left] + share * (self._seconds[right] - self._seconds[left])
