"""Log probabilities of tokens by the model's own logits, without logits processors."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.sampling.logits import Logits
from server.payloads import TokenIdLogprobs

__all__ = ["chosen_logprobs", "find_later", "gather_prompt_logprobs", "log_sums"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def chosen_logprobs(logits: Logits, tokens: Ints, num_top: list[int]) -> list[TokenIdLogprobs]:
    """For each row the log probability of its token and those of its `num_top` likeliest ones."""
    chosen, top_ids, top = _logprobs(logits, tokens, max(num_top))
    return [
        TokenIdLogprobs(token, logprob, tuple(zip(ids[:num], values[:num], strict=True)))
        for token, logprob, ids, values, num in zip(
            tokens.tolist(), chosen.tolist(), top_ids.tolist(), top.tolist(), num_top, strict=True
        )
    ]


def find_later(
    logits: Logits, tokens: Ints, num_top: list[int]
) -> list[Callable[[], TokenIdLogprobs]]:
    """What `chosen_logprobs` finds, one call for each row, found when the logits are settled.

    No later token depends on it, so the next step need not wait. The first call that comes before
    finds all rows.
    """
    later = _Later(logits, tokens, num_top)
    logits.later(later.find)
    return [partial(later.entry, row) for row in range(len(tokens))]


class _Later:
    """Log probabilities that are found once."""

    def __init__(self, logits: Logits, tokens: Ints, num_top: list[int]) -> None:
        self._given: tuple[Logits, Ints, list[int]] | None = logits, tokens, num_top
        self._found: list[TokenIdLogprobs] = []

    def find(self) -> None:
        if self._given is not None:
            self._found = chosen_logprobs(*self._given)
            self._given = None

    def entry(self, row: int) -> TokenIdLogprobs:
        self.find()
        return self._found[row]


def gather_prompt_logprobs(gathered: PromptLogprobs, logits: Logits) -> None:
    """Add the log probabilities of the prompt's next positions when the logits are settled."""
    tokens, add = gathered.begin(len(logits), logits.settle)
    logits.later(lambda: add(*_logprobs(logits, tokens, gathered.num_top)))


def _logprobs(logits: Logits, tokens: Ints, num_top: int) -> tuple[Doubles, Ints, Doubles]:
    """For each row the log probability of its token, and ids and values of the likeliest tokens.

    There are `num_top` of these, or as many as the vocabulary has; the likeliest comes first.
    """
    norms = log_sums(logits)
    top = logits.likeliest(num_top)
    return logits.of_tokens(tokens) - norms, top.token_ids, top.values - norms[:, None]


def log_sums(logits: Logits) -> Doubles:
    """log(sum(exp(logits))) of each row: a logit minus it is a log probability."""
    sums = logits.sums(np.ones(len(logits), np.float32))
    norms: Doubles = logits.highest + np.log(sums.sum(axis=1))
    return norms
