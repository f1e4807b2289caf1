"""Random sampling: reading a few tiles follows the distribution of the whole row."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import logits_of, values_of

from server.engine.sampling.random_sampling import NUM_UNIFORMS, sample_randomly
from server.payloads import SamplingParams

Array = npt.NDArray[Any]

ROUNDING = 1e-5
"""As a share of the sum of all weights: f32 against f64."""


def weights_of(row: Array, params: SamplingParams) -> Array:
    """The probabilities of all tokens, computed from the whole row in the textbook way."""
    scaled = row.astype(np.float64) / max(params.temperature, 1e-5)
    weights = np.exp(scaled - scaled.max())
    weights[weights < params.min_p] = 0
    if 0 < params.top_k < len(row):
        weights[row < np.sort(row)[-params.top_k]] = 0
    descending = np.argsort(-weights, kind="stable")
    cumulative = np.cumsum(weights[descending])
    last = np.count_nonzero(cumulative < params.top_p * cumulative[-1])
    if params.top_p < 1:
        weights[row < row[descending[min(last, len(row) - 1)]]] = 0
    return weights / weights.sum()


def check(rows: Array, params: Sequence[SamplingParams], tile: int = 64) -> None:
    """Each row's token is the one at its place in the cumulative distribution."""
    uniforms = np.random.default_rng(9).random((len(rows), NUM_UNIFORMS))
    tokens = sample_randomly(logits_of(rows, tile), list(params), uniforms)
    for row, param, numbers, token in zip(rows, params, uniforms, tokens, strict=True):
        weights = weights_of(row, param)
        assert weights[token] > 0, "the token is excluded"
        is_first = is_at(weights, numbers[0], token)
        assert is_first or is_found_by_rejection(row, param, numbers, token)


def is_at(weights: Array, uniform: float, token: int) -> bool:
    """Whether a token is at this place of the cumulative distribution, apart from rounding."""
    cumulative = np.cumsum(weights)
    edges = cumulative[[token, token - 1 if token else 0]]
    is_near = bool(np.abs(edges - uniform).min() < ROUNDING)
    return is_near or int(np.count_nonzero(cumulative <= uniform)) == token


def is_found_by_rejection(row: Array, params: SamplingParams, uniforms: Array, token: int) -> bool:
    """Whether rejection gives this token: the first try that is in the nucleus.

    All uniforms but the last are tries, places in the distribution before top_p. If none of them is
    in the nucleus, the last uniform is a place in the distribution after top_p.
    """
    weights = weights_of(row, params)
    whole = weights_of(row, dataclasses.replace(params, top_p=1.0))
    places = np.searchsorted(np.cumsum(whole), uniforms[:-1], "right")
    hits = np.flatnonzero(weights[np.minimum(places, len(row) - 1)] > 0)
    if len(hits) == 0:
        return is_at(weights, uniforms[-1], token)
    return is_at(whole, uniforms[hits[0]], token)


FIELDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.05},
    {"temperature": 2.0},
    {"top_k": 1},
    {"top_k": 50},
    {"top_k": 400},
    {"top_p": 0.0},
    {"top_p": 1e-300},
    {"top_p": 0.1},
    {"top_p": 0.9, "temperature": 0.7},
    {"top_p": 0.9999},
    {"min_p": 0.001},
    {"min_p": 0.3},
    {"min_p": 1.0},
    {"temperature": 1e-300, "min_p": 0.1},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
    {"temperature": 1.5, "top_k": 1000, "top_p": 0.99, "min_p": 0.01},
]


@pytest.mark.parametrize("vocab_size", [1, 3, 64, 700, 20_001])
@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0, 300.0])
def test_the_token_is_the_one_of_the_whole_row(vocab_size: int, spread: float) -> None:
    rng = np.random.default_rng((vocab_size, int(spread)))
    params = [SamplingParams(**fields) for fields in FIELDS for _ in range(3)]
    rows = rng.normal(0, spread, (len(params), vocab_size)).astype(np.float32)
    check(rows, params)


@pytest.mark.parametrize("tile", [32, 512])
def test_rows_with_a_head_and_a_tail(tile: int) -> None:
    rng = np.random.default_rng(5)
    params = [SamplingParams(**fields) for fields in FIELDS for _ in range(3)]
    rows = rng.normal(0, 2, (len(params), 30_000)).astype(np.float32)
    for row in rows:
        row[rng.permutation(30_000)[:900]] += 18 - 2 * np.log1p(np.arange(900)).astype(np.float32)
    check(rows, params, tile)


def test_rows_with_impossible_and_equal_logits() -> None:
    rng = np.random.default_rng(6)
    params = [SamplingParams(**fields) for fields in FIELDS for _ in range(4)]
    rows = rng.integers(0, 4, (len(params), 5000)).astype(np.float32)
    rows[1::4, rng.permutation(5000)[:4990]] = -np.inf
    rows[2::4] = 3.5
    rows[3::4, 128:] = -np.inf
    check(rows, params)


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_logits_at_the_ends_of_f32(fields: dict[str, Any]) -> None:
    rows = np.full((2, 300), -3e38, np.float32)
    rows[:, 70] = 3e38
    rows[1, 200] = 3e38
    uniforms = np.tile([[0.7], [0.3]], NUM_UNIFORMS)
    tokens = sample_randomly(logits_of(rows), [SamplingParams(**fields)] * 2, uniforms)
    assert tokens.tolist() == [70, 70]


def test_a_rows_token_does_not_depend_on_other_rows() -> None:
    rng = np.random.default_rng(7)
    params = [SamplingParams(**fields) for fields in FIELDS for _ in range(2)]
    rows = rng.normal(0, 2, (len(params), 20_000)).astype(np.float32)
    # One row of each kind has a wide nucleus.
    rows[1::2] *= 0.1
    uniforms = rng.random((len(rows), NUM_UNIFORMS))
    logits = logits_of(rows)
    together = sample_randomly(logits, params, uniforms)
    for i in range(len(rows)):
        one = np.array([i])
        assert sample_randomly(logits.select(one), [params[i]], uniforms[one]) == together[i]


@pytest.mark.parametrize("fields", [{}, {"top_p": 0.9}], ids=str)
def test_a_row_with_nan_gives_no_token(fields: dict[str, Any]) -> None:
    logits = logits_of(np.zeros((1, 3000), np.float32))
    values_of(logits, 0)[1000] = np.nan
    uniforms = np.full((1, NUM_UNIFORMS), 0.1)
    assert sample_randomly(logits, [SamplingParams(**fields)], uniforms).tolist() == [-1]


def wide_row(vocab_size: int, seed: int) -> Array:
    """Logits for which top_p keeps more tokens than the first tiles hold."""
    row = np.random.default_rng(seed).normal(0, 0.3, vocab_size).astype(np.float32)
    row[7::1000] += 2
    return row


@pytest.mark.parametrize("top_p", [0.3, 0.9])
@pytest.mark.parametrize("scale", [None, 0.013])
def test_tokens_of_a_wide_nucleus_have_their_own_probability(
    top_p: float, scale: float | None
) -> None:
    num_samples, num_groups = 8_000, 40
    row = wide_row(12_000, 11)
    params = SamplingParams(top_p=top_p)
    uniforms = np.random.default_rng(12).random((num_samples, NUM_UNIFORMS))
    scales = None if scale is None else np.array([scale], np.float32)
    logits = logits_of(row[None] / (scale or 1), scales=scales)
    tokens = sample_randomly(
        logits.select(np.zeros(num_samples, np.int64)), [params] * num_samples, uniforms
    )
    expected = weights_of(row, params)
    assert np.count_nonzero(expected) > 64 * 32, "more than the first tiles hold"
    assert (expected[np.unique(tokens)] > 0).mean() > 0.999, "apart from rounding at the edge"
    # Groups of equal size, in the order of the logits.
    group_of = np.empty(len(row), np.int64)
    group_of[np.argsort(row)] = np.arange(len(row)) * num_groups // len(row)
    expected_in = np.bincount(group_of, expected, num_groups) * num_samples
    found_in = np.bincount(group_of[tokens], minlength=num_groups)
    likely = expected_in > 5
    chi_square = ((found_in - expected_in)[likely] ** 2 / expected_in[likely]).sum()
    assert chi_square < 85, "above the 99.99th percentile of 40 degrees of freedom"


def test_a_wide_nucleus_is_sampled_exactly_if_all_tries_fail() -> None:
    row = wide_row(12_000, 13)
    params = SamplingParams(top_p=0.3)
    expected = weights_of(row, params)
    outside = np.flatnonzero(expected == 0)
    cumulative = np.cumsum(weights_of(row, SamplingParams()))
    misses = cumulative[outside[outside > 0][: NUM_UNIFORMS - 1]] - 1e-6
    uniforms = np.append(misses, 0.6)[None]
    (token,) = sample_randomly(logits_of(row[None]), [params], uniforms)
    assert is_at(expected, 0.6, token)


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.99])
def test_tries_outside_a_wide_nucleus_are_rejected(top_p: float) -> None:
    row = wide_row(12_000, 14)
    whole = weights_of(row, SamplingParams())
    middles = np.cumsum(whole) - whole / 2
    descending = np.argsort(-row)
    num_kept = np.count_nonzero(weights_of(row, SamplingParams(top_p=top_p)))
    beyond = descending[num_kept + 3]
    for token in (descending[0], descending[num_kept // 2], descending[num_kept - 4]):
        uniforms = np.full((1, NUM_UNIFORMS), 0.5)
        uniforms[0, :2] = middles[[beyond, token]]
        chosen = sample_randomly(logits_of(row[None]), [SamplingParams(top_p=top_p)], uniforms)
        assert chosen.tolist() == [token]
