"""What decode steps really take, by how many sequences and how many tokens they have."""

from collections import deque
from statistics import median

from server.engine.scheduling.step_costs import StepCosts

NUM_SAMPLES = 9
"""Steps of a kind whose median counts."""

LEAST_SAMPLES = 2
"""With fewer, a step of a kind is taken to be as long as StepCosts says."""

FRESH = 2000
"""Samples are forgotten where none was added during so many steps: they may have been bad luck."""


class MeasuredSteps:
    """Corrects StepCosts for steps that only decode, with or without drafts.

    StepCosts is a smooth curve over the tokens of all steps, and its steps end before sequences
    move on. Kernels change at some sizes, so that one more token may cost a third of a step. Here
    each kind of step has a factor of its own, what it took divided by what the curve says. An
    unknown kind has the factor of the same sequences without drafts, so that it is tried.
    """

    def __init__(self, costs: StepCosts) -> None:
        self._costs = costs
        self._factors: dict[tuple[int, int], deque[float]] = {}
        self._last_used: dict[tuple[int, int], int] = {}
        self._num_steps = 0

    def padded(self, num_tokens: int) -> int:
        """The tokens that a step of `num_tokens` computes."""
        return self._costs.padded(num_tokens)

    def observe(
        self, num_sequences: int, num_tokens: int, expected_s: float, seconds: float
    ) -> None:
        """Learn from a whole step, for which StepCosts had expected another time."""
        self._num_steps += 1
        if expected_s <= 0:
            return
        kind = self._kind(num_sequences, num_tokens)
        if self._num_steps - self._last_used.get(kind, 0) > FRESH:
            self._factors[kind] = deque(maxlen=NUM_SAMPLES)
        self._factors.setdefault(kind, deque(maxlen=NUM_SAMPLES)).append(seconds / expected_s)
        self._last_used[kind] = self._num_steps

    def seconds(self, num_sequences: int, num_tokens: int, context: float) -> float:
        """What a step of so many sequences and tokens takes; 0 before any was observed."""
        kind = self._kind(num_sequences, num_tokens)
        factor = self._factor(kind) or self._factor((kind[0], kind[0])) or 1.0
        return factor * self._costs.predict(num_tokens, context)

    def _kind(self, num_sequences: int, num_tokens: int) -> tuple[int, int]:
        return self.padded(num_sequences), self.padded(num_tokens)

    def _factor(self, kind: tuple[int, int]) -> float | None:
        samples = self._factors.get(kind, ())
        is_fresh = self._num_steps - self._last_used.get(kind, 0) <= FRESH
        return median(samples) if len(samples) >= LEAST_SAMPLES and is_fresh else None
