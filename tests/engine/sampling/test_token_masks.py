"""Masks of few and of many tokens: choosing is as if all other tokens had -inf."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import logits_of, make_sequence, values_of

from server.engine.sampling.sampler import sample
from server.engine.sequence import Sequence
from server.engine.token_mask import TokenMask

Array = npt.NDArray[Any]

VOCAB, LONG_VOCAB = 1000, 9000
FIELDS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 0.8},
    {"top_k": 3},
    {"top_k": 20, "top_p": 0.9},
    {"min_p": 0.05},
    {"temperature": 0.0, "repetition_penalty": 1.8, "presence_penalty": 0.5},
    {"frequency_penalty": -1.5, "logit_bias": {3: 4.0, 500: -2.0, 999: 5.0}},
    {"temperature": 0.0, "bad_word_ids": ((1, 7), (3,), (999,))},
    {"temperature": 0.0, "min_tokens": 50},
]


def masks() -> list[Array]:
    """Masks, as bool[vocabulary], that forbid nearly nothing, half and nearly everything."""
    rng = np.random.default_rng(1)
    return [rng.random(VOCAB) < share for share in (0.0, 0.01, 0.5, 0.51, 0.98)]


def random_rows(count: int) -> Array:
    return np.random.default_rng(2).normal(0, 3, (count, VOCAB)).astype(np.float32)


def make(seed: int, fields: dict[str, Any]) -> Sequence:
    sequence = make_sequence([3, 7, 500], seed=seed, **fields)
    sequence.request.end_token_ids = frozenset({3, 999, 42})
    for token in (9, 1):
        sequence.append(token)
    return sequence


def chosen(
    rows: Array, sequences: list[Sequence], numbers: list[int] | None = None
) -> list[int | None]:
    logits = logits_of(rows)
    tokens = [token.token_id for token in sample(logits, sequences, numbers)]
    np.testing.assert_array_equal([values_of(logits, i) for i in range(len(rows))], rows)
    return tokens


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_the_token_is_that_of_a_row_without_forbidden_ones(fields: dict[str, Any]) -> None:
    kinds = masks()
    rows = random_rows(40)
    is_forbidden = np.stack([kinds[i % len(kinds)] for i in range(40)])
    masked, free = ([make(i, fields) for i in range(40)] for _ in range(2))
    for sequence, forbidden in zip(masked, is_forbidden, strict=True):
        sequence.mask = TokenMask(forbidden)
    expected = chosen(np.where(is_forbidden, -np.inf, rows).astype(np.float32), free)
    assert chosen(rows, masked) == expected
    assert None not in expected


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_long_masks_give_the_tokens_of_rows_without_forbidden_ones(fields: dict[str, Any]) -> None:
    """They are so long that other ways are taken; without a seed they are only possible ones."""
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 2, (12, LONG_VOCAB)).astype(np.float32)
    is_forbidden = rng.random((12, LONG_VOCAB)) < np.tile([0.4, 0.6], 6)[:, None]
    # In two rows none of the likeliest tokens is allowed.
    is_forbidden[:2] |= rows[:2] > 3
    masked, free, unseeded = ([make(i, fields) for i in range(12)] for _ in range(3))
    for i, forbidden in enumerate(is_forbidden):
        masked[i].mask = unseeded[i].mask = TokenMask(forbidden)
        unseeded[i]._rng = np.random.default_rng(i)
        unseeded[i].request.params = dataclasses.replace(masked[i].request.params, seed=None)
    expected = chosen(np.where(is_forbidden, -np.inf, rows).astype(np.float32), free)
    assert chosen(rows, masked) == expected
    tokens = chosen(rows, unseeded)
    assert not any(is_forbidden[i, token] for i, token in enumerate(tokens))


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_the_first_of_the_likeliest_of_a_long_mask_is_taken(share: float) -> None:
    """Without a seed, too: nothing is random at temperature 0."""
    rng = np.random.default_rng(6)
    rows = np.round(rng.normal(0, 1, (8, LONG_VOCAB))).astype(np.float32)
    is_forbidden = rng.random((8, LONG_VOCAB)) < share
    sequences = [make_sequence([1], temperature=0.0) for _ in rows]
    for sequence, forbidden in zip(sequences, is_forbidden, strict=True):
        sequence.mask = TokenMask(forbidden)
    expected = np.where(is_forbidden, -np.inf, rows).argmax(axis=1).tolist()
    assert chosen(rows, sequences) == expected


def test_random_tokens_of_long_masks_have_their_own_probability() -> None:
    rows = np.random.default_rng(4).normal(0, 1, (1, LONG_VOCAB)).astype(np.float32)
    is_forbidden = np.arange(LONG_VOCAB) % 3 > 0
    sequences = [make_sequence([1]) for _ in range(4000)]
    for sequence in sequences:
        sequence.mask = TokenMask(is_forbidden)
    sequences[0]._rng = np.random.default_rng(5)
    tokens = np.array(chosen(rows, sequences, [0] * 4000))
    assert not is_forbidden[tokens].any()
    weights = np.where(is_forbidden, 0, np.exp(rows[0].astype(np.float64)))
    expected = (weights / weights.sum()).reshape(50, -1).sum(axis=1) * 4000
    found = np.bincount(tokens // (LONG_VOCAB // 50), minlength=50)
    assert ((found - expected) ** 2 / expected).sum() < 100, "99.99th percentile of 49: 93"


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_sequences_that_share_a_row_have_masks_of_their_own(fields: dict[str, Any]) -> None:
    rows, kinds = random_rows(2), masks()
    numbers = [0, 1, 1, 0, 1, 0, 0]
    masked, free = ([make(i, fields) for i in range(7)] for _ in range(2))
    for i, sequence in enumerate(masked):
        sequence.mask = TokenMask(kinds[i % len(kinds)])
    expected = [
        chosen(np.where(kinds[i % len(kinds)], -np.inf, rows[[row]]).astype(np.float32), [free[i]])
        for i, row in enumerate(numbers)
    ]
    assert chosen(rows, masked, numbers) == [token for (token,) in expected]


def test_the_request_and_the_constraint_both_limit_the_tokens() -> None:
    rows = np.array([[5.0, 4.0, 3.0, 2.0]], np.float32)
    sequence = make_sequence([0], temperature=0.0, allowed_token_ids=(3, 2, 1, 3))
    assert sequence.request.allowed is not None
    assert chosen(rows, [sequence]) == [1]
    forbidden = np.array([False, True, False, False])
    sequence.mask = TokenMask(forbidden, sequence.request.allowed.allowed)
    assert chosen(rows, [sequence]) == [2]


def test_end_tokens_are_not_excluded_where_only_they_are_allowed() -> None:
    rows = random_rows(1)
    sequence = make(0, {"temperature": 0.0, "min_tokens": 50})
    forbidden = np.ones(VOCAB, np.bool_)
    forbidden[[3, 42]] = False
    sequence.mask = TokenMask(forbidden)
    assert chosen(rows, [sequence]) == [3 if rows[0, 3] > rows[0, 42] else 42]


def test_a_row_gives_no_token_where_the_allowed_ones_are_impossible() -> None:
    rows = random_rows(1)
    rows[0, 5] = -np.inf
    sequence = make_sequence([0], temperature=0.0, allowed_token_ids=(5,))
    assert chosen(rows, [sequence]) == [None]


def test_a_mask_is_empty_where_nothing_is_allowed() -> None:
    forbidden = np.array([True, False, True])
    assert not TokenMask(forbidden).is_empty
    assert not TokenMask(~forbidden).is_empty
    assert TokenMask(forbidden, among=np.array([0, 2])).is_empty


def test_a_mask_knows_its_tokens() -> None:
    for forbidden in masks():
        mask = TokenMask(forbidden)
        assert [mask.allows(i) for i in range(VOCAB)] == (~forbidden).tolist()
        row = np.zeros(VOCAB, np.float32)
        mask.apply(row)
        np.testing.assert_array_equal(row == -np.inf, forbidden)
