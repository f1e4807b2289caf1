"""Chooses the next token of every sequence from the logits of a step."""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.sequence import PenaltyCounts, Sequence
from server.payloads import SamplingParams, TokenIdLogprobs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

BLOCK_ELEMENTS = 2**20
"""Logits worked on together: many rows of a small vocabulary, few of a large one."""

FIRST_CANDIDATES = 256
"""Likeliest tokens looked at first for top_p; all others follow only where these do not do."""

STRETCH = 256
"""Tokens summed together on the way to the one that was drawn."""


LOWEST_TEMPERATURE = np.float32(1e-5)
LOWEST_REPETITION_PENALTY, HIGHEST_REPETITION_PENALTY = 1e-6, 1e6
"""Beyond these the effect is the same, but f32 overflows."""


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
    penalties, temperature, min_p, top_k, top_p; each random choice takes one number of the
    sequence's own generator.
    """
    row_of = np.arange(len(sequences)) if rows is None else np.asarray(rows)
    chosen = np.empty(len(sequences), np.int64)
    shaped = [i for i, s in enumerate(sequences) if _needs_shaping(s.request.params)]
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


def _needs_shaping(params: SamplingParams) -> bool:
    return not params.is_greedy or _has_penalties(params)


def _has_penalties(params: SamplingParams) -> bool:
    return bool(
        params.repetition_penalty != 1.0 or params.frequency_penalty or params.presence_penalty
    )


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
        if _has_penalties(sequence.request.params):
            _apply_penalties(row, sequence)
    chosen = np.argmax(block, axis=1)
    random = [i for i, s in enumerate(sequences) if not s.request.params.is_greedy]
    # NaN and infinity win argmax, and are told from the logits by the caller.
    random = [i for i in random if np.isfinite(block[i, chosen[i]])]
    if random:
        params = [sequences[i].request.params for i in random]
        uniforms = np.array([sequences[i].random() for i in random])
        chosen[random] = draw(block[random], params, uniforms)
    return np.asarray(chosen, np.int64)


def _apply_penalties(row: Floats, sequence: Sequence) -> None:
    """Repetition penalty (CTRL, arXiv 1909.05858) over all tokens, OpenAI's two over the answer."""
    params = sequence.request.params
    if sequence.penalty_counts is None:
        sequence.penalty_counts = PenaltyCounts(sequence)
    tokens = sequence.penalty_counts.token_ids.view()
    generated = sequence.penalty_counts.generated.view()
    values = row[tokens]
    factor = min(
        max(params.repetition_penalty, LOWEST_REPETITION_PENALTY), HIGHEST_REPETITION_PENALTY
    )
    values = np.where(values > 0, values / factor, values * factor)
    values -= params.frequency_penalty * generated + params.presence_penalty * (generated > 0)
    row[tokens] = values


def draw(block: Floats, params: list[SamplingParams], uniforms: npt.NDArray[np.float64]) -> Ints:
    """Draw one token a row from f32[rows, V] logits, which are overwritten; uniforms in [0, 1).

    What min_p, top_k and top_p leave over has weight 0; equal logits at the edge of top_k or top_p
    stay together. A row's token depends on that row alone.
    """
    block -= block.max(axis=1, keepdims=True)
    temperatures = np.array([p.temperature for p in params], np.float32)
    block /= np.maximum(temperatures, LOWEST_TEMPERATURE)[:, None]
    weights = np.exp(block, out=block)
    min_p = np.array([p.min_p for p in params], np.float32)
    if min_p.any():
        weights[weights < min_p[:, None]] = 0.0
    _apply_top_k(weights, params)
    _apply_top_p(weights, params)
    return _invert(weights, uniforms)


def _apply_top_k(weights: Floats, params: list[SamplingParams]) -> None:
    vocab = weights.shape[1]
    which = [i for i, p in enumerate(params) if 0 < p.top_k < vocab]
    if not which:
        return
    rows = weights[which]
    kth = vocab - np.array([params[i].top_k for i in which])
    ordered = np.partition(rows, np.unique(kth), axis=1)
    lowest = ordered[np.arange(len(which)), kth]
    rows[rows < lowest[:, None]] = 0.0
    weights[which] = rows


def _apply_top_p(weights: Floats, params: list[SamplingParams]) -> None:
    """Nucleus sampling (arXiv 1904.09751): the fewest likeliest tokens which have top_p of all."""
    for i, p in enumerate(params):
        if p.top_p < 1.0:
            row = weights[i]
            row[row < _nucleus_edge(row, p.top_p)] = 0.0


def _nucleus_edge(row: Floats, top_p: float) -> np.float32:
    """The lowest weight inside the nucleus; looks at few candidates first, as they mostly do."""
    wanted = top_p * row.sum(dtype=np.float64)
    # Many equal zeros, left by top_k or min_p, would make the partition slow.
    candidates = row[row > 0.0]
    first = len(candidates) - FIRST_CANDIDATES
    if first > 0:
        likeliest = np.partition(candidates, first)[first:]
        if likeliest.sum(dtype=np.float64) >= wanted:
            candidates = likeliest
    descending = np.sort(candidates)[::-1]
    cumulative = np.cumsum(descending, dtype=np.float64)
    last = int(np.searchsorted(cumulative, wanted, side="left"))
    edge: np.float32 = descending[min(last, len(descending) - 1)]
    return edge


def _invert(weights: Floats, uniforms: npt.NDArray[np.float64]) -> Ints:
    """Inverse of each row's cumulative distribution, found by its sums over stretches first."""
    num_rows, vocab = weights.shape
    starts = np.arange(0, vocab, STRETCH)
    cumulative = np.cumsum(np.add.reduceat(weights, starts, axis=1, dtype=np.float64), axis=1)
    targets = uniforms * cumulative[:, -1]
    chosen = np.empty(num_rows, np.int64)
    for i in range(num_rows):
        stretch = _position(cumulative[i], targets[i])
        before = cumulative[i, stretch - 1] if stretch else 0.0
        start = stretch * STRETCH
        inside = np.cumsum(weights[i, start : start + STRETCH], dtype=np.float64)
        chosen[i] = start + _position(inside, targets[i] - before)
    return chosen


def _position(cumulative: npt.NDArray[np.float64], target: float) -> int:
    """Where the running sum first exceeds the target.

    Rounding may lift the target to the total; the last one that adds anything is meant then.
    """
    found = int(np.searchsorted(cumulative, target, side="right"))
    return min(found, int(np.searchsorted(cumulative, cumulative[-1], side="left")))


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
