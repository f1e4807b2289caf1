"""Log probabilities of tokens under the model itself, before anything shapes its logits."""

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import Logits
from server.payloads import TokenIdLogprobs

__all__ = ["PromptLogprobs", "chosen_logprobs", "log_sums"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def chosen_logprobs(logits: Logits, tokens: Ints, num_top: list[int]) -> list[TokenIdLogprobs]:
    """For each row the log probability of its token, and of the `num_top` likeliest ones."""
    chosen, top_ids, top = _logprobs(logits, tokens, max(num_top))
    return [
        TokenIdLogprobs(token, logprob, tuple(zip(ids[:num], values[:num], strict=True)))
        for token, logprob, ids, values, num in zip(
            tokens.tolist(), chosen.tolist(), top_ids.tolist(), top.tolist(), num_top, strict=True
        )
    ]


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

    def add(self, logits: Logits) -> None:
        """Take the logits of the next positions; they are not changed."""
        done = slice(self.num_done, self.num_done + len(logits))
        tokens = self._token_ids[done.start + 1 : done.stop + 1]
        found = _logprobs(logits, tokens, self._top.shape[1])
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


def _logprobs(logits: Logits, tokens: Ints, num_top: int) -> tuple[Doubles, Ints, Doubles]:
    """For each row of logits: of its token, then ids and values of the likeliest, descending.

    There are `num_top` of these, or as many as the vocabulary has.
    """
    norms = log_sums(logits)
    top = logits.likeliest(num_top)
    return logits.of_tokens(tokens) - norms, top.token_ids, top.values - norms[:, None]


def log_sums(logits: Logits) -> Doubles:
    """What separates each row's logits from log probabilities: the logarithm of the sum of exp."""
    sums = logits.sums(np.ones(len(logits), np.float32))
    norms: Doubles = logits.highest + np.log(sums.sum(axis=1))
    return norms
