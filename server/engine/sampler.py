"""Chooses the next token of every sequence from the logits of a step."""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.sequence import PenaltyCounts, Sequence
from server.payloads import SamplingParams, TokenIdLogprobs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

ROWS_AT_ONCE = 8
"""Rows handled together: more would leave the cache, a row of a large vocabulary takes 0.6 MB."""

FIRST_CANDIDATES = 256
"""Likeliest tokens looked at first for top_p alone; the exact rest follows if they do not do."""


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A chosen token; `token_id` is None where the model gave NaN instead of logits."""

    token_id: int | None
    logprobs: TokenIdLogprobs | None = None


def sample(
    logits: Floats, sequences: Rows[Sequence], rows: Rows[int] | None = None
) -> list[SampledToken]:
    """Choose a token for each sequence.

    `logits` is f32[R, V]; `rows[i]` is the row of `sequences[i]`, which is i where it is None; rows
    may repeat. The logits are not changed. Order of operations as in vLLM: penalties, temperature,
    min_p, top_k, top_p; each random choice takes one number of the sequence's own generator.
    """
    row_of = np.arange(len(sequences)) if rows is None else np.asarray(rows)
    chosen = np.empty(len(sequences), np.int64)
    shaped = [i for i, s in enumerate(sequences) if _needs_shaping(s.request.params)]
    is_shaped = np.zeros(len(sequences), bool)
    is_shaped[shaped] = True
    _choose_greedy(logits, row_of, np.flatnonzero(~is_shaped), chosen)
    for start in range(0, len(shaped), ROWS_AT_ONCE):
        part = shaped[start : start + ROWS_AT_ONCE]
        chosen[part] = _choose_shaped(logits[row_of[part]], [sequences[i] for i in part])
    is_bad = np.isnan(logits[row_of, chosen])
    return [
        SampledToken(None) if bad else SampledToken(token, _logprobs(logits[row], token, sequence))
        for bad, token, row, sequence in zip(
            is_bad.tolist(), chosen.tolist(), row_of.tolist(), sequences, strict=True
        )
    ]


def _needs_shaping(params: SamplingParams) -> bool:
    return not params.is_greedy or _has_penalties(params)


def _has_penalties(params: SamplingParams) -> bool:
    return bool(
        params.repetition_penalty != 1.0 or params.frequency_penalty or params.presence_penalty
    )


def _choose_greedy(logits: Floats, row_of: Ints, which: Ints, chosen: Ints) -> None:
    if len(which) == len(logits):
        chosen[which] = np.argmax(logits, axis=1)[row_of[which]]
        return
    for i in which:
        chosen[i] = np.argmax(logits[row_of[i]])


def _choose_shaped(block: Floats, sequences: list[Sequence]) -> Ints:
    """Tokens for a few rows; `block` is a copy, f32[rows, V], and is overwritten."""
    for row, sequence in zip(block, sequences, strict=True):
        if _has_penalties(sequence.request.params):
            _apply_penalties(row, sequence)
    chosen = np.argmax(block, axis=1)
    random = [i for i, s in enumerate(sequences) if not s.request.params.is_greedy]
    # NaN wins argmax, and is told from the logits by the caller.
    random = [i for i in random if not np.isnan(block[i, chosen[i]])]
    if random:
        params = [sequences[i].request.params for i in random]
        uniforms = np.array([sequences[i].random() for i in random])
        chosen[random] = draw(block[random], params, uniforms)
    return chosen


def _apply_penalties(row: Floats, sequence: Sequence) -> None:
    """Repetition penalty over prompt and answer (CTRL, arXiv 1909.05858), OpenAI's two over the answer."""
    params = sequence.request.params
    if sequence.penalty_counts is None:
        sequence.penalty_counts = PenaltyCounts(sequence)
    tokens = sequence.penalty_counts.token_ids.view()
    generated = sequence.penalty_counts.generated.view()
    values = row[tokens]
    factor = params.repetition_penalty
    values = np.where(values > 0, values / factor, values * factor)
    values -= params.frequency_penalty * generated + params.presence_penalty * (generated > 0)
    row[tokens] = values


def draw(block: Floats, params: list[SamplingParams], uniforms: npt.NDArray[np.float64]) -> Ints:
    """Draw one token a row from f32[rows, V] logits, which are overwritten; uniforms in [0, 1)."""
    block -= block.max(axis=1, keepdims=True)
    block /= np.array([p.temperature for p in params], np.float32)[:, None]
    _apply_min_p(block, params)
    chosen = np.empty(len(params), np.int64)
    vocab = block.shape[1]
    limits = np.array([p.top_k if 0 < p.top_k < vocab else vocab for p in params])
    top_p = np.array([p.top_p for p in params])
    is_full = (limits == vocab) & (top_p >= 1.0)
    for i in np.flatnonzero(is_full):
        chosen[i] = _draw_from_all(block[i], uniforms[i])
    cut = np.flatnonzero(~is_full)
    if len(cut):
        chosen[cut] = _draw_from_likeliest(block[cut], limits[cut], top_p[cut], uniforms[cut])
    return chosen


def _apply_min_p(block: Floats, params: list[SamplingParams]) -> None:
    """Drop tokens less likely than min_p times the likeliest (arXiv 2407.01082)."""
    for row, p in zip(block, params, strict=True):
        if p.min_p > 0:
            row[row < np.log(np.float32(p.min_p))] = -np.inf


def _draw_from_all(row: Floats, uniform: float) -> int:
    """Inverse of the cumulative distribution over the whole vocabulary."""
    cumulative = np.cumsum(np.exp(row), dtype=np.float64)
    found = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return int(min(found, len(row) - 1))


def _draw_from_likeliest(
    block: Floats, limits: Ints, top_p: npt.NDArray[np.float64], uniforms: npt.NDArray[np.float64]
) -> Ints:
    """Draw within top_k and top_p, from as many candidates as are needed to be exact."""
    vocab = block.shape[1]
    is_limited = limits < vocab
    num_candidates = min(vocab, int(max(FIRST_CANDIDATES, limits[is_limited].max(initial=0))))
    tokens = np.argpartition(block, vocab - num_candidates, axis=1)[:, vocab - num_candidates :]
    values = np.take_along_axis(block, tokens, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    tokens = np.take_along_axis(tokens, order, axis=1)
    weights = np.exp(np.take_along_axis(values, order, axis=1), dtype=np.float64)
    weights[np.arange(num_candidates)[None, :] >= limits[:, None]] = 0.0
    totals = weights.sum(axis=1)
    for i in np.flatnonzero(~is_limited):
        totals[i] = np.exp(block[i]).sum(dtype=np.float64)
    cumulative = np.cumsum(weights, axis=1)
    is_kept = cumulative - weights < (top_p * totals)[:, None]
    is_kept[:, 0] = True
    kept = np.where(is_kept, weights, 0.0)
    picks = np.cumsum(kept, axis=1)
    positions = (picks > (uniforms * picks[:, -1])[:, None]).argmax(axis=1)
    chosen: Ints = tokens[np.arange(len(tokens)), positions]
    is_short = ~is_limited & (cumulative[:, -1] < top_p * totals) & (num_candidates < vocab)
    for i in np.flatnonzero(is_short):
        chosen[i] = _draw_from_sorted(block[i], top_p[i], uniforms[i])
    return chosen


def _draw_from_sorted(row: Floats, top_p: float, uniform: float) -> int:
    """Nucleus sampling (arXiv 1904.09751) over the sorted vocabulary, for flat distributions."""
    order = np.argsort(-row, kind="stable")
    cumulative = np.cumsum(np.exp(row[order]), dtype=np.float64)
    num_kept = int(np.searchsorted(cumulative, top_p * cumulative[-1], side="left")) + 1
    num_kept = min(num_kept, len(row))
    found = np.searchsorted(cumulative[:num_kept], uniform * cumulative[num_kept - 1], "right")
    return int(order[min(int(found), num_kept - 1)])


def _logprobs(row: Floats, token: int, sequence: Sequence) -> TokenIdLogprobs | None:
    """Log probabilities under the model itself, before penalties and temperature."""
    num_top = sequence.request.params.logprobs
    if num_top is None:
        return None
    highest = row.max()
    norm = highest + np.log(np.exp(row - highest).sum(dtype=np.float64))
    if num_top == 0:
        return TokenIdLogprobs(token, float(row[token] - norm))
    num_top = min(num_top, len(row))
    likeliest = np.argpartition(row, len(row) - num_top)[len(row) - num_top :]
    likeliest = likeliest[np.argsort(-row[likeliest], kind="stable")]
    top = tuple((int(i), float(row[i] - norm)) for i in likeliest)
    return TokenIdLogprobs(token, float(row[token] - norm), top)
