"""What changes a sequence's logits: constraint, allowed tokens, bad words, min_tokens, logit_bias
and penalties.
"""

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
        limits_tokens(sequence)
        or bool(params.logit_bias)
        or bool(params.bad_word_ids)
        or _has_penalties(params)
        or _has_min_tokens_left(sequence)
    )


def limits_tokens(sequence: Sequence) -> bool:
    """Whether `apply_processors` may change the logits of most tokens."""
    params = sequence.request.params
    return sequence.mask is not None or params.allowed_token_ids is not None


def processed_tokens(sequence: Sequence) -> Ints:
    """The tokens whose logits `apply_processors` changes, unless `limits_tokens`."""
    request = sequence.request
    parts = [np.array(_bad_tokens(sequence), np.int64)]
    if _has_min_tokens_left(sequence):
        parts.append(np.array(list(request.end_token_ids), np.int64))
    if request.params.logit_bias:
        parts.append(request.biased_token_ids)
    if _has_penalties(request.params):
        parts.append(_penalty_counts(sequence).token_ids.view())
    return np.concatenate(parts)


def apply_processors(row: Floats, sequence: Sequence) -> None:
    """Change a row of logits in place, in vLLM's order."""
    request = sequence.request
    if sequence.mask is not None:
        np.copyto(row, -np.inf, where=sequence.mask)
    if request.allowed_token_ids is not None:
        _keep_allowed(row, request.allowed_token_ids)
    _exclude(row, _bad_tokens(sequence))
    if _has_min_tokens_left(sequence):
        _exclude(row, list(request.end_token_ids))
    if request.params.logit_bias:
        row[request.biased_token_ids] += request.biases
    if _has_penalties(request.params):
        _apply_penalties(row, sequence)


def _has_min_tokens_left(sequence: Sequence) -> bool:
    request = sequence.request
    return sequence.num_generated_tokens < request.params.min_tokens and bool(request.end_token_ids)


def _keep_allowed(row: Floats, allowed: Ints) -> None:
    kept = row[allowed]
    row[:] = -np.inf
    row[allowed] = kept


def _bad_tokens(sequence: Sequence) -> list[int]:
    """The last tokens of the bad words whose other tokens the answer ends with."""
    bad_word_ids = sequence.request.params.bad_word_ids
    if not bad_word_ids:
        return []
    longest = max(map(len, bad_word_ids)) - 1
    start = max(sequence.num_prompt_tokens, sequence.num_tokens - longest)
    tail = tuple(sequence.token_ids.view(start).tolist())
    return [word[-1] for word in bad_word_ids if _ends_with(tail, word[:-1])]


def _ends_with(tail: tuple[int, ...], tokens: tuple[int, ...]) -> bool:
    return not tokens or tail[-len(tokens) :] == tokens


def _exclude(row: Floats, token_ids: list[int]) -> None:
    """Exclude tokens, unless nothing else is allowed."""
    if not token_ids:
        return
    kept = row[token_ids]
    row[token_ids] = -np.inf
    if row.max() == -np.inf:
        row[token_ids] = kept


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
