"""Counts the sequences that run, and those that may."""

from server.engine.sequence import Sequence

RESERVED_SHARE = 4
"""One of so many seats is for requests of one sequence, however many the others have."""


class Seats:
    """`max_num_seqs` seats for the sequences of `running`, and for those that they will fork."""

    def __init__(self, max_num_seqs: int, running: list[Sequence]) -> None:
        self._max_num_seqs = max_num_seqs
        self._running = running

    def count_free(self) -> int:
        """The seats that nothing has; visits all running sequences."""
        return self._max_num_seqs - sum(map(num_seats, self._running))

    def may_have(self, sequence: Sequence) -> bool:
        """Whether requests of several sequences leave enough seats to others, with this one."""
        num_wanted = num_seats(sequence)
        if num_wanted == 1:
            return True
        has_several = (s for s in self._running if s.request.params.num_sequences > 1)
        num_taken = sum(map(num_seats, has_several))
        reserved = self._max_num_seqs // RESERVED_SHARE
        return num_taken == 0 or num_taken + num_wanted <= self._max_num_seqs - reserved


def num_seats(sequence: Sequence) -> int:
    """Seats that a sequence has, with those of the sequences that it will fork."""
    return 1 + sequence.num_pending_forks
