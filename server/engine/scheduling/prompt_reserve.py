"""A quarter of the prefill budget is reserved for the oldest prompt that is being read."""

from server.engine.sequence import Sequence

RESERVED_SHARE = 4
"""One of so many tokens is reserved."""

MAX_PAST_PER_ROW = 64
"""How much longer than a chunk its past may be, where a chunk is cut because others go first.

Every chunk unpacks all of its past, so small ones would cost a long prompt the square of its
length.
"""


class PromptReserve:
    """Saves up the tokens that are reserved for the oldest prompt until they are worth a chunk."""

    def __init__(self) -> None:
        self._oldest: Sequence | None = None
        self._num_saved = 0

    def take(self, oldest: Sequence, room: int) -> int:
        """Tokens of the oldest prompt in a step that has `room` for it; 0 while it saves up."""
        if oldest is not self._oldest:
            self._oldest, self._num_saved = oldest, 0
        self._num_saved += -(-room // RESERVED_SHARE)
        if self._num_saved < min(room, oldest.num_computed_tokens // MAX_PAST_PER_ROW):
            return 0
        num_tokens = min(room, self._num_saved)
        self._num_saved = 0
        return num_tokens
