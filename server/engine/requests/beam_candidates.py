"""The likeliest next tokens of a beam, from the logits of a step."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import Logits
from server.engine.sampling.logits_processors import apply_processors, has_processors
from server.engine.sampling.logprobs import log_sums
from server.engine.sequence import Sequence
from server.payloads import TokenIdLogprobs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The likeliest next tokens of one beam, best first.

    `logprobs` are the model's own log probabilities, `scores` those after penalties and biases.
    `top` are the model's likeliest tokens, where the request asks for them.
    """

    token_ids: Ints
    scores: Floats
    logprobs: Floats
    top: tuple[tuple[int, float], ...]

    def entry(self, position: int) -> TokenIdLogprobs:
        """The log probabilities to report if this candidate is chosen."""
        token, logprob = self.token_ids[position], self.logprobs[position]
        return TokenIdLogprobs(int(token), float(logprob), self.top)


def find_candidates(logits: Logits, sequence: Sequence, count: int) -> Candidates | None:
    """The `count` likeliest tokens after a sequence; None where the model gave no usable logits.

    `logits` is one row and is not changed. As in transformers, penalties and biases apply to log
    probabilities, which are not normalised again.
    """
    if not np.isfinite(logits.of_tokens(logits.argmax())).all():
        return None
    norm = log_sums(logits).astype(np.float32)
    scored = logits
    if has_processors(sequence):

        def process(_: int, row: Floats) -> None:
            row -= norm
            apply_processors(row, sequence)

        scored = logits.processed_copy(process)
    found = scored.likeliest(count)
    is_possible = np.isfinite(found.values[0])
    token_ids, scores = found.token_ids[0, is_possible], found.values[0, is_possible]
    if scored is logits:
        scores = scores - norm
    logprobs = logits.select(np.zeros_like(token_ids)).of_tokens(token_ids) - norm
    best = logits.likeliest(sequence.request.params.logprobs or 0)
    top = zip(best.token_ids[0].tolist(), (best.values[0] - norm).tolist(), strict=True)
    return Candidates(token_ids, scores, logprobs, tuple(top))
