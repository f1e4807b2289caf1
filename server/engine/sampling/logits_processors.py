"""Constraint, min_tokens, logit_bias and penalties, which change a sequence's logits."""

import numpy as np
import numpy.typing as npt

from server.engine.sequence import PenaltyCounts, Sequence
from server.payloads import SamplingParams

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LOWEST_REPETITION_PENALTY, HIGHEST_REPETITION_PENALTY = 1e-6, 1e6
"""Penalties beyond these have the same effect, but overflow f32."""


def has_processors(sequence: Sequence) -> bool:
    """Whether `apply_processors` may change logits of this sequence."""
    params = sequence.request.params
    return (
        sequence.constraint is not None
        or bool(params.logit_bias)
        or _has_penalties(params)
        or _has_min_tokens_left(sequence)
    )


def processed_tokens(sequence: Sequence) -> Ints:
    """The tokens whose logits `apply_processors` changes, for a sequence without a constraint."""
    request = sequence.request
    parts = [np.zeros(0, np.int64)]
    if _has_min_tokens_left(sequence):
        parts.append(np.array(list(request.end_token_ids), np.int64))
    if request.params.logit_bias:
        parts.append(request.biased_token_ids)
    if _has_penalties(request.params):
        parts.append(_penalty_counts(sequence).token_ids.view())
    return np.concatenate(parts)


def apply_processors(row: Floats, sequence: Sequence) -> None:
    """Apply constraint, min_tokens, logit_bias and penalties to a row of logits, in place."""
    request = sequence.request
    if sequence.mask is not None:
        np.copyto(row, -np.inf, where=sequence.mask)
    if _has_min_tokens_left(sequence):
        _exclude_ends(row, list(request.end_token_ids))
    if request.params.logit_bias:
        row[request.biased_token_ids] += request.biases
    if _has_penalties(request.params):
        _apply_penalties(row, sequence)


def _has_min_tokens_left(sequence: Sequence) -> bool:
    request = sequence.request
    return sequence.num_generated_tokens < request.params.min_tokens and bool(request.end_token_ids)


def _exclude_ends(row: Floats, end_token_ids: list[int]) -> None:
    """Exclude the end tokens, unless the constraint allows nothing else."""
    kept = row[end_token_ids]
    row[end_token_ids] = -np.inf
    if row.max() == -np.inf:
        row[end_token_ids] = kept


def _has_penalties(params: SamplingParams) -> bool:
    return bool(
        params.repetition_penalty != 1.0 or params.frequency_penalty or params.presence_penalty
    )


def _penalty_counts(sequence: Sequence) -> PenaltyCounts:
    if sequence.penalty_counts is None:
        sequence.penalty_counts = PenaltyCounts(sequence)
    return sequence.penalty_counts


def _apply_penalties(row: Floats, sequence: Sequence) -> None:
    """Repetition penalty (CTRL, arXiv 1909.05858) over all tokens, OpenAI's two over the answer."""
    params = sequence.request.params
    counts = _penalty_counts(sequence)
    tokens, generated = counts.token_ids.view(), counts.generated.view()
    values = row[tokens]
    factor = min(
        max(params.repetition_penalty, LOWEST_REPETITION_PENALTY), HIGHEST_REPETITION_PENALTY
    )
    values = np.where(values > 0, values / factor, values * factor)
    values -= params.frequency_penalty * generated + params.presence_penalty * (generated > 0)
    row[tokens] = values
