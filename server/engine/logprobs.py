"""Log probabilities of tokens under the model itself, before anything shapes its logits."""

import numpy as np
import numpy.typing as npt

from server.payloads import TokenIdLogprobs

__all__ = ["PromptLogprobs", "chosen_logprobs"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

BLOCK_ELEMENTS = 2**20
"""Logits worked on together, so that what is made of them stays in the caches."""


def chosen_logprobs(row: Floats, token: int, num_top: int) -> TokenIdLogprobs:
    """The log probability of a token and of the `num_top` likeliest ones, from a row of logits."""
    chosen, top_ids, top = _logprobs(row[None], np.array([token]), num_top)
    pairs = zip(top_ids[0].tolist(), top[0].tolist(), strict=True)
    return TokenIdLogprobs(token, float(chosen[0]), tuple(pairs))


class PromptLogprobs:
    """Log probabilities of a prompt's tokens, each under the tokens before it.

    They are gathered in the order of the prompt, while it is read in chunks; what is kept of a
    position is a few numbers instead of its logits.
    """

    def __init__(self, token_ids: Ints, num_top: int) -> None:
        self._token_ids = token_ids
        count = len(token_ids) - 1
        self._chosen = np.empty(count, np.float64)
        self._top_ids = np.empty((count, num_top), np.int64)
        self._top = np.empty((count, num_top), np.float64)
        self.num_done = 0

    @property
    def is_complete(self) -> bool:
        """Whether no logits are needed any more."""
        return self.num_done == len(self._chosen)

    def add(self, logits: Floats) -> None:
        """Take the logits of the next positions, f32[positions, V]; they are not changed."""
        num_rows = max(1, BLOCK_ELEMENTS // logits.shape[1])
        for start in range(0, len(logits), num_rows):
            self._add_block(logits[start : start + num_rows])

    def _add_block(self, block: Floats) -> None:
        done = slice(self.num_done, self.num_done + len(block))
        tokens = self._token_ids[done.start + 1 : done.stop + 1]
        found = _logprobs(block, tokens, self._top.shape[1])
        self._chosen[done], self._top_ids[done], self._top[done] = found
        self.num_done = done.stop

    def as_tuple(self) -> tuple[TokenIdLogprobs, ...]:
        """One entry for each token of the prompt but the first, which nothing is before."""
        assert self.is_complete, "the prompt was read to its end"
        columns = (self._token_ids[1:], self._chosen, self._top_ids, self._top)
        return tuple(
            TokenIdLogprobs(token, logprob, tuple(zip(top_ids, top, strict=True)))
            for token, logprob, top_ids, top in zip(*(c.tolist() for c in columns), strict=True)
        )


def _logprobs(
    block: Floats, tokens: Ints, num_top: int
) -> tuple[npt.NDArray[np.float64], Ints, npt.NDArray[np.float64]]:
    """For each row of logits: of its token, then ids and values of the likeliest, descending.

    There are `num_top` of these, or as many as the vocabulary has.
    """
    highest = block.max(axis=1)
    sums = np.exp(block - highest[:, None]).sum(axis=1, dtype=np.float64)
    norms = highest + np.log(sums)
    chosen = block[np.arange(len(block)), tokens] - norms
    num_other = block.shape[1] - min(num_top, block.shape[1])
    if num_top == 0:
        return chosen, np.empty((len(block), 0), np.int64), np.empty((len(block), 0))
    likeliest = np.argpartition(block, num_other, axis=1)[:, num_other:]
    values = np.take_along_axis(block, likeliest, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    top_ids = np.take_along_axis(likeliest, order, axis=1)
    return chosen, top_ids, np.take_along_axis(values, order, axis=1) - norms[:, None]
