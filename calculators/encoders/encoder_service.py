"""The interface of what turns rows of token ids into vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from server.graph import UNCOUNTED, Ticket

__all__ = ["EncoderRow", "EncoderService", "Vector"]

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class EncoderRow:
    """One text, or a pair of texts, as the model reads it: special tokens included, not padded.

    `token_type_ids`, as many as `token_ids`, are all 0 if they are None. With `of_tokens` the
    output is a vector for each token, [tokens, size].
    """

    token_ids: Sequence[int]
    token_type_ids: Sequence[int] | None = None
    of_tokens: bool = False

    def __len__(self) -> int:
        return len(self.token_ids)


class EncoderService(Protocol):
    """Runs the rows of many requests at a time. All but `close` belong to one event loop."""

    async def run(
        self, rows: Sequence[EncoderRow], ticket: Ticket = UNCOUNTED, cache_salt: str = ""
    ) -> list[Vector]:
        """The output of every row, in order: what the model gives for it, without batch dimension.

        What is computed for a row may be used again for rows with the same `cache_salt` only.
        The tokens of the rows are added to the ticket, and leave it as the rows are started.
        Cancelling it takes the rows that do not run yet out of the queue.

        Raises InvalidRequestError for rows that the model cannot take, QueueFullError if there
        is no room for their tokens, and GenerationError if inference fails.
        """

    def status(self) -> Mapping[str, Any]:
        """Facts for operators, as JSON values."""

    def health(self) -> str | None:
        """Why nothing can be run any more; None if it can."""

    def needs_reload(self) -> bool:
        """Whether nothing can be run until the model was loaded again."""

    def close(self) -> None:
        """Wait for what runs, and free the model."""
