"""How a beam may go on: its likeliest next tokens, from the logits of a step."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.logit_shaping import shape_logits
from server.engine.sequence import Sequence
from server.payloads import TokenIdLogprobs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

STRETCH = 256
"""Tokens of which the highest is found first, on the way to the highest of all."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The likeliest next tokens of one beam, best first.

    `logprobs` are log probabilities under the model itself, `scores` what penalties and biases make
    of them. `top` are the model's likeliest tokens, where the request wants to see them.
    """

    token_ids: Ints
    scores: Floats
    logprobs: Floats
    top: tuple[tuple[int, float], ...]

    def entry(self, position: int) -> TokenIdLogprobs:
        """What is reported of the candidate, should it be chosen."""
        token, logprob = self.token_ids[position], self.logprobs[position]
        return TokenIdLogprobs(int(token), float(logprob), self.top)


def find_candidates(logits: Floats, sequence: Sequence, count: int) -> Candidates | None:
    """The `count` likeliest tokens after a sequence; None where the model gave no usable logits.

    `logits` is f32[V] and is not changed. As in transformers, it is the log probabilities that
    penalties and biases are applied to, and they are not made to add up to 1 again.
    """
    highest = logits.max()
    if not np.isfinite(highest):
        return None
    log_probs = logits - highest
    log_probs -= np.log(np.exp(log_probs).sum(dtype=np.float64)).astype(np.float32)
    scores = log_probs.copy()
    shape_logits(scores, sequence)
    found = find_highest(scores, count)
    found = found[np.isfinite(scores[found])]
    likeliest = find_highest(log_probs, sequence.request.params.logprobs or 0)
    top = tuple((int(i), float(log_probs[i])) for i in likeliest)
    return Candidates(found, scores[found], log_probs[found], top)


def find_highest(values: Floats, count: int) -> Ints:
    """Positions of the `count` highest of f32[V] in descending order; of equal ones the first."""
    if count == 0:
        return np.empty(0, np.int64)
    count = min(count, len(values))
    maxima = np.maximum.reduceat(values, np.arange(0, len(values), STRETCH))
    # Where `count` stretches have a value that is not below an edge, no lower value is wanted.
    bounds = maxima if count <= len(maxima) else values
    edge = np.partition(bounds, len(bounds) - count)[len(bounds) - count]
    found = np.flatnonzero(values >= edge)
    return found[np.argsort(-values[found], kind="stable")[:count]]
