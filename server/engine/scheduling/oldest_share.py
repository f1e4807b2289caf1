"""The part of every step that belongs to the prompt which was begun first."""

from server.engine.sequence import Sequence

SHARES = 4
"""One in so many of the tokens that a step has for prompts is for the oldest one."""

MAX_PAST_PER_ROW = 64
"""How much longer than the chunk its past may be, where a chunk is cut because others go first.

Every chunk unpacks all of its past, so that small ones would cost a long prompt the square of its
length.
"""


class OldestShare:
    """Saves up the tokens that the oldest prompt may have, until they are worth a chunk."""

    def __init__(self) -> None:
        self._oldest: Sequence | None = None
        self._num_saved = 0

    def take(self, oldest: Sequence, room: int) -> int:
        """Tokens of the oldest prompt in a step that has `room` for it; 0 while it saves up."""
        if oldest is not self._oldest:
            self._oldest, self._num_saved = oldest, 0
        self._num_saved += -(-room // SHARES)
        if self._num_saved < min(room, oldest.num_computed_tokens // MAX_PAST_PER_ROW):
            return 0
        num_tokens = min(room, self._num_saved)
        self._num_saved = 0
        return num_tokens
