"""Chooses the next token of every sequence from the logits of a step."""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.drawing import draw
from server.engine.logit_shaping import is_shaped, shape_logits
from server.engine.logprobs import chosen_logprobs
from server.engine.sequence import Sequence
from server.payloads import TokenIdLogprobs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

BLOCK_ELEMENTS = 2**20
"""Logits worked on together: many rows of a small vocabulary, few of a large one."""


BAD_LOGITS = "the model gave NaN or infinity instead of logits"


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A chosen token; `token_id` is None where the model gave no usable logits."""

    token_id: int | None
    logprobs: TokenIdLogprobs | None = None


def sample(
    logits: Floats,
    sequences: Rows[Sequence],
    rows: Rows[int] | None = None,
    maxima: Floats | None = None,
) -> list[SampledToken]:
    """Choose a token for each sequence.

    `logits` is f32[R, V]; `rows[i]` is the row of `sequences[i]`, which is i where it is None; rows
    may repeat. `maxima`, f32[R, N], may hold the highest logit of each N-th part of a row, which
    makes greedy choices faster. The logits are not changed. Order of operations as in vLLM:
    constraint, min_tokens, logit_bias, penalties, temperature, min_p, top_k, top_p; each random
    choice takes one number of the sequence's own generator. Log probabilities are the model's own.
    """
    row_of = np.arange(len(sequences)) if rows is None else np.asarray(rows, np.int64)
    chosen = np.empty(len(sequences), np.int64)
    shaped = [i for i, s in enumerate(sequences) if not _is_plain(s)]
    plain = np.delete(np.arange(len(sequences)), shaped)
    chosen[plain] = _choose_greedy(logits, maxima, row_of[plain])
    rows_at_once = max(1, BLOCK_ELEMENTS // logits.shape[1])
    for start in range(0, len(shaped), rows_at_once):
        part = shaped[start : start + rows_at_once]
        chosen[part] = _choose_shaped(logits[row_of[part]], [sequences[i] for i in part])
    is_bad = ~np.isfinite(logits[row_of, chosen])
    return [
        SampledToken(None) if bad else SampledToken(token, _logprobs(logits[row], token, sequence))
        for bad, token, row, sequence in zip(
            is_bad.tolist(), chosen.tolist(), row_of.tolist(), sequences, strict=True
        )
    ]


def _is_plain(sequence: Sequence) -> bool:
    return sequence.request.params.is_greedy and not is_shaped(sequence)


def _choose_greedy(logits: Floats, maxima: Floats | None, rows: Ints) -> Ints:
    """The likeliest token of each row; the first of equal ones."""
    if maxima is None:
        return np.array([np.argmax(logits[row]) for row in rows], np.int64)
    stretches = maxima[rows].argmax(axis=1)
    size = logits.shape[1] // maxima.shape[1]
    inside = logits.reshape(len(logits), maxima.shape[1], size)[rows, stretches].argmax(axis=1)
    return np.asarray(stretches * size + inside, np.int64)


def _choose_shaped(block: Floats, sequences: list[Sequence]) -> Ints:
    """Tokens for a few rows; `block` is a copy, f32[rows, V], and is overwritten."""
    for row, sequence in zip(block, sequences, strict=True):
        shape_logits(row, sequence)
    chosen = np.argmax(block, axis=1)
    random = [i for i, s in enumerate(sequences) if not s.request.params.is_greedy]
    # NaN and infinity win argmax, and are told from the logits by the caller.
    random = [i for i in random if np.isfinite(block[i, chosen[i]])]
    if random:
        params = [sequences[i].request.params for i in random]
        uniforms = np.array([sequences[i].random() for i in random])
        chosen[random] = draw(block[random], params, uniforms)
    return np.asarray(chosen, np.int64)


def _logprobs(row: Floats, token: int, sequence: Sequence) -> TokenIdLogprobs | None:
    num_top = sequence.request.params.logprobs
    return None if num_top is None else chosen_logprobs(row, token, num_top)
