"""How often guesses of several kinds were right, the last ones most."""


class HitRates:
    """A rate for each of some kinds of guesses.

    Every observation counts `memory` times as much as the one after it. `weight` observations are
    assumed that had the rate which `of` is told.
    """

    def __init__(self, num_kinds: int, memory: float, weight: float) -> None:
        self._memory, self._weight = memory, weight
        self._hits = [0.0] * num_kinds
        self._tries = [0.0] * num_kinds

    def note(self, kind: int, is_hit: bool) -> None:
        """Count one guess."""
        self._hits[kind] = self._hits[kind] * self._memory + is_hit
        self._tries[kind] = self._tries[kind] * self._memory + 1.0

    def of(self, kind: int, expected: float) -> float:
        """The rate of a kind, which is `expected` as long as nothing is known."""
        hits = self._hits[kind] + self._weight * expected
        return hits / (self._tries[kind] + self._weight)


class Calibration:
    """How many drafts were accepted, of those that were expected to be."""

    _MEMORY = 0.98
    """How much a step counts beside the one after it."""

    _WEIGHT = 4.0
    """So many that were accepted as expected are assumed."""

    def __init__(self) -> None:
        self._expected = 0.0
        self._accepted = 0.0

    def note(self, expected: float, num_accepted: int) -> None:
        """Learn from the drafts of one step."""
        self.fade()
        self._expected += expected
        self._accepted += num_accepted

    def fade(self) -> None:
        """Let what is known count less."""
        self._expected *= self._MEMORY
        self._accepted *= self._MEMORY

    @property
    def factor(self) -> float:
        """What expected numbers must be multiplied by, at most 1."""
        return min(1.0, (self._accepted + self._WEIGHT) / (self._expected + self._WEIGHT))
