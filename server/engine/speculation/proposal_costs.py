"""What it takes a draft model to propose tokens, with all that its host does."""

from collections.abc import Callable
from time import perf_counter

from server.engine.speculation.measured_steps import size_class
from server.engine.speculation.samples import Samples

NUM_COLD = 2
"""The first proposals for so many sequences are slow, and do not count."""

PATIENCE = 100
"""Two measurements are believed for so many times what they say: trying again costs little."""


class ProposalCosts:
    """Seconds of the first token of a proposal, and of each further one, by how many sequences.

    The first one has all that is done once: the tokens that came since are read, the inputs are
    packed. `predict` says what a step of the draft model takes, where nothing else is known.
    """

    def __init__(
        self, predict: Callable[[int], float], clock: Callable[[], float] = perf_counter
    ) -> None:
        self._predict = predict
        self._clock = clock
        self._num_seen: dict[int, int] = {}
        self._first: dict[int, Samples] = {}
        self._next: dict[int, Samples] = {}

    def observe(self, num_sequences: int, first_s: float, next_s: float | None) -> None:
        """Learn from a proposal; `next_s` is None where it had one token."""
        kind, now = size_class(num_sequences), self._clock()
        self._num_seen[kind] = self._num_seen.get(kind, 0) + 1
        if self._num_seen[kind] <= NUM_COLD:
            return
        patience_s = PATIENCE * (first_s + (next_s or 0.0))
        self._first.setdefault(kind, Samples()).add(first_s, now, patience_s)
        if next_s is not None:
            self._next.setdefault(kind, Samples()).add(next_s, now, patience_s)

    def seconds(self, num_sequences: int, num_tokens: int) -> float:
        """What `num_tokens` tokens for each of so many sequences take."""
        first_s = self._known(self._first, num_sequences)
        return first_s + (num_tokens - 1) * self._known(self._next, num_sequences)

    def _known(self, samples: dict[int, Samples], num_sequences: int) -> float:
        found = samples.get(size_class(num_sequences))
        if found is not None:
            middle = found.middle(self._clock(), PATIENCE * found.any_middle)
            if middle is not None:
                return middle
        return self._predict(num_sequences)
