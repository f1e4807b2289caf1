"""Draws tokens from logits: temperature, min_p, top_k, top_p, then the inverse of the sums."""

import numpy as np
import numpy.typing as npt

from server.payloads import SamplingParams

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

FIRST_CANDIDATES = 256
"""Likeliest tokens looked at first for top_p; all others follow only where these do not do."""

STRETCH = 256
"""Tokens summed together on the way to the one that was drawn."""

LOWEST_TEMPERATURE = np.float32(1e-5)
"""Below it the effect is the same, but f32 overflows."""


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
