"""Log probabilities of a prompt, gathered while it is read in chunks."""

from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt

from server.payloads import TokenIdLogprobs

__all__ = ["PromptLogprobs"]

Doubles = npt.NDArray[np.float64]
ROWS_AT_ONCE = 256

Ints = npt.NDArray[np.int64]


def _nothing() -> None:
    """There are no rows yet."""


class PromptLogprobs(Collection[TokenIdLogprobs]):
    """Log probabilities of a prompt's tokens, each under the tokens before it.

    The rows arrive in the order of the prompt. Of each position only a few numbers are kept, not
    its logits. Iterating makes the entries: there may be a million, which nobody should keep.
    """

    def __init__(self, token_ids: Ints, num_top: int) -> None:
        self._token_ids = token_ids
        self.num_top = num_top
        count = len(token_ids) - 1
        self._chosen = np.empty(count, np.float64)
        self._top_ids = np.empty((count, num_top), np.int64)
        self._top = np.empty((count, num_top), np.float64)
        self.num_done = 0
        self._settle: Callable[[], None] = _nothing

    @property
    def is_complete(self) -> bool:
        """Whether the whole prompt is done."""
        return self.num_done == len(self._chosen)

    def begin(
        self, count: int, settle: Callable[[], None]
    ) -> tuple[Ints, Callable[[Doubles, Ints, Doubles], None]]:
        """The tokens that the next `count` rows of logits predict, and a call that keeps the rows.

        The call takes the log probabilities f64[n] of these tokens, and the likeliest ones
        [n, num_top]; `settle` sees to it that it was made.
        """
        self._settle()
        done = slice(self.num_done, self.num_done + count)
        self.num_done = done.stop
        self._settle = settle

        def add(chosen: Doubles, top_ids: Ints, top: Doubles) -> None:
            self._chosen[done], self._top_ids[done], self._top[done] = chosen, top_ids, top

        return self._token_ids[1:][done], add

    def __len__(self) -> int:
        return len(self._chosen)

    def __contains__(self, entry: object) -> bool:
        return any(entry == other for other in self)

    def __iter__(self) -> Iterator[TokenIdLogprobs]:
        """One entry for each token of the prompt but the first, which has no probability."""
        assert self.is_complete, "the whole prompt is done"
        self._settle()
        columns = (self._token_ids[1:], self._chosen, self._top_ids, self._top)
        for start in range(0, len(self), ROWS_AT_ONCE):
            rows = (column[start : start + ROWS_AT_ONCE].tolist() for column in columns)
            for token, logprob, top_ids, top in zip(*rows, strict=True):
                yield TokenIdLogprobs(token, logprob, tuple(zip(top_ids, top, strict=True)))
