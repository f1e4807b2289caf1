"""What decode steps really take, by their number of tokens and whether they have drafts."""

from collections import deque
from statistics import median

from server.engine.scheduling.step_costs import StepCosts

NUM_SAMPLES = 9
"""Steps of a kind whose median counts."""

LEAST_SAMPLES = 2
"""With fewer, nothing is known of a kind."""

HOPED_SHARE = 0.02
"""The part of a step without drafts that each draft is hoped to take, before that is known."""

FRESH = 2000
"""Samples are forgotten where none was added during so many steps: they may have been bad luck."""


Kind = tuple[bool, int]
"""Whether a step has drafts, and its number of tokens, rounded by `size_class`."""


class MeasuredSteps:
    """Corrects StepCosts for steps that only decode, with or without drafts.

    StepCosts is a smooth curve over the tokens of all steps, and its steps end before sequences
    move on. Kernels change at some sizes, so that one more token may cost a third of a step. Here
    each kind of step has a factor of its own, what it took divided by what the curve says. A kind
    with drafts of which nothing is known is hoped to be short, so that it is tried: the first steps
    of a size, which are slow, may be all that the curve knows.
    """

    def __init__(self, costs: StepCosts) -> None:
        self._costs = costs
        self._factors: dict[Kind, deque[float]] = {}
        self._last_used: dict[Kind, int] = {}
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
        if not self._is_fresh(kind):
            self._factors[kind] = deque(maxlen=NUM_SAMPLES)
        self._factors[kind].append(seconds / expected_s)
        self._last_used[kind] = self._num_steps

    def seconds(self, num_sequences: int, num_tokens: int, context: float) -> float:
        """What a step of so many sequences and tokens takes; 0 before any was observed."""
        expected_s = self._costs.predict(num_tokens, context)
        kind = self._kind(num_sequences, num_tokens)
        if self._is_fresh(kind) and len(self._factors[kind]) >= LEAST_SAMPLES:
            return median(self._factors[kind]) * expected_s
        num_drafts = num_tokens - num_sequences
        if num_drafts == 0:
            return expected_s
        plain_s = self.seconds(num_sequences, num_sequences, context)
        return min(expected_s, plain_s * (1 + HOPED_SHARE * num_drafts))

    def _kind(self, num_sequences: int, num_tokens: int) -> Kind:
        return num_tokens > num_sequences, size_class(self.padded(num_tokens))

    def _is_fresh(self, kind: Kind) -> bool:
        return self._num_steps - self._last_used.get(kind, -FRESH - 1) <= FRESH


def size_class(number: int) -> int:
    """Numbers up to 8 are kinds of their own, then there are four between one and its double.

    With more, trying them all would take too long.
    """
    shift = max(0, number.bit_length() - 3)
    return number >> shift << shift
