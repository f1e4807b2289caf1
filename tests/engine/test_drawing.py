"""Drawing: reading a few stretches chooses the token that reading the whole row chooses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from engine_helpers import logits_of, values_of

from server.engine.drawing import draw
from server.payloads import SamplingParams

Array = npt.NDArray[Any]

ROUNDING = 1e-5
"""Of the sum of all weights: f32 against f64."""


def weights_of(row: Array, params: SamplingParams) -> Array:
    """The distribution to draw from, by the textbook and from the whole row."""
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


def check(rows: Array, params: Sequence[SamplingParams], stretch: int = 64) -> None:
    """Each row's token is the one at its place in the cumulative distribution."""
    uniforms = np.random.default_rng(9).random(len(rows))
    tokens = draw(logits_of(rows, stretch), list(params), uniforms)
    for row, param, uniform, token in zip(rows, params, uniforms, tokens, strict=True):
        weights = weights_of(row, param)
        cumulative = np.cumsum(weights)
        expected = np.count_nonzero(cumulative <= uniform)
        if token != expected:
            assert weights[token] > 0, "the token is left over"
            edges = cumulative[[token, token - 1 if token else 0]]
            assert np.abs(edges - uniform).min() < ROUNDING, "no matter of rounding"


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
def test_the_token_is_that_of_the_whole_row(vocab_size: int, spread: float) -> None:
    rng = np.random.default_rng((vocab_size, int(spread)))
    params = [SamplingParams(**fields) for fields in FIELDS for _ in range(3)]
    rows = rng.normal(0, spread, (len(params), vocab_size)).astype(np.float32)
    check(rows, params)


@pytest.mark.parametrize("stretch", [32, 512])
def test_rows_with_a_head_and_a_tail(stretch: int) -> None:
    rng = np.random.default_rng(5)
    params = [SamplingParams(**fields) for fields in FIELDS for _ in range(3)]
    rows = rng.normal(0, 2, (len(params), 30_000)).astype(np.float32)
    for row in rows:
        row[rng.permutation(30_000)[:900]] += 18 - 2 * np.log1p(np.arange(900)).astype(np.float32)
    check(rows, params, stretch)


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
    tokens = draw(logits_of(rows), [SamplingParams(**fields)] * 2, np.array([0.7, 0.3]))
    assert tokens.tolist() == [70, 70]


def test_a_row_draws_the_same_whatever_is_beside_it() -> None:
    rng = np.random.default_rng(7)
    params = [SamplingParams(**fields) for fields in FIELDS]
    rows = rng.normal(0, 2, (len(params), 3000)).astype(np.float32)
    uniforms = rng.random(len(rows))
    logits = logits_of(rows)
    together = draw(logits, params, uniforms)
    for i in range(len(rows)):
        one = np.array([i])
        assert draw(logits.select(one), [params[i]], uniforms[one]) == together[i]


@pytest.mark.parametrize("fields", [{}, {"top_p": 0.9}], ids=str)
def test_nan_beside_good_logits_is_told(fields: dict[str, Any]) -> None:
    logits = logits_of(np.zeros((1, 3000), np.float32))
    values_of(logits, 0)[1000] = np.nan
    assert draw(logits, [SamplingParams(**fields)], np.array([0.1])).tolist() == [-1]
