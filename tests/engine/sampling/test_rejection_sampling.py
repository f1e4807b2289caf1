"""Rejection sampling: accepted tokens follow the row's distribution, whatever the bounds are."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import logits_of, make_sequence

from server.engine.sampling import rejection_sampling as rejection
from server.engine.sampling import sampler
from server.engine.sampling.random_sampling import NO_TOKEN
from server.engine.sampling.rejection_sampling import can_use_rejection, sample_by_rejection
from server.engine.sampling.sampler import sample
from server.engine.token_mask import TokenMask
from server.payloads import SamplingParams

Array = npt.NDArray[Any]

NUM_SAMPLES = 20_000
ALL_SUMMED, USUAL, NONE_SUMMED = 0.0, rejection.LARGEST_SHARE, 1.0


def sample_often(
    row: Array, temperature: float, tile: int = 32, scale: float | None = None
) -> Array:
    """Many tokens sampled from a row; rows without an accepted try are left out."""
    scales = None if scale is None else np.array([scale], np.float32)
    logits = logits_of(row[None].astype(np.float32), tile, scales)
    temperatures = np.full(NUM_SAMPLES, temperature, np.float32)
    rows = np.zeros(NUM_SAMPLES, np.int64)
    tokens = sample_by_rejection(logits.select(rows), temperatures, np.random.default_rng(1))
    return tokens[tokens != NO_TOKEN]


def softmax(row: Array, temperature: float) -> Array:
    scaled = (row.astype(np.float64) - row.max()) / temperature
    weights = np.exp(scaled)
    return np.asarray(weights / weights.sum())


def check_distribution(tokens: Array, expected: Array) -> None:
    """Chi-square over tokens; rare tokens count as one."""
    assert (expected[tokens] > 0).all(), "an impossible token"
    counts = np.bincount(tokens, minlength=len(expected))
    is_rare = expected * len(tokens) < 8
    found = np.append(counts[~is_rare], counts[is_rare].sum())
    wanted = np.append(expected[~is_rare], expected[is_rare].sum()) * len(tokens) + 1e-9
    chi_square = float(((found - wanted) ** 2 / wanted).sum())
    freedom = len(found) - 1
    # Four standard deviations of the normal distribution that chi-square approaches.
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom) + 8


ROWS: dict[str, Array] = {
    "flat": np.zeros(300),
    "normal": np.random.default_rng(2).normal(0, 1, 300),
    "wide": np.random.default_rng(3).normal(0, 3, 300),
    "peaked": np.append(np.random.default_rng(4).normal(0, 1, 299), 6.0),
    "one token": np.zeros(1),
    "impossible ones": np.where(np.arange(300) % 7 < 5, -np.inf, np.arange(300) / 100),
    "impossible tiles": np.where(np.arange(300) // 32 % 2, -np.inf, 0.0),
}


@pytest.mark.parametrize("share", [ALL_SUMMED, USUAL, NONE_SUMMED])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_tokens_have_their_own_probability(
    row: Array, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection, "LARGEST_SHARE", share)
    for temperature in (0.7, 1.0, 2.0):
        tokens = sample_often(row, temperature)
        assert len(tokens) > 0.8 * NUM_SAMPLES
        check_distribution(tokens, softmax(row, temperature))


def test_some_tiles_are_summed_and_others_not() -> None:
    rng = np.random.default_rng(5)
    row = rng.normal(0, 1, 20_000)
    row[rng.permutation(20_000)[:30]] += rng.uniform(4, 9, 30)
    logits = logits_of(row[None].astype(np.float32), 32)
    proposal = rejection._Proposal.of(logits, np.ones(1, np.float32))
    assert 5 < np.count_nonzero(proposal.is_summed) < 200
    check_distribution(sample_often(row, 1.0), softmax(row, 1.0))


def test_scales_of_rows_are_applied() -> None:
    row = np.random.default_rng(6).normal(0, 2, 300)
    check_distribution(sample_often(row, 1.0, scale=0.5), softmax(0.5 * row, 1.0))


@pytest.mark.parametrize("num_tries", [(1,), (2, 3)])
def test_the_share_of_failed_tries_follows_from_the_bounds(
    num_tries: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection, "LARGEST_SHARE", NONE_SUMMED)
    monkeypatch.setattr(rejection, "NUM_TRIES", num_tries)
    row = np.random.default_rng(7).normal(0, 2, 320)
    weights = np.exp(row)
    kept = weights.sum() / (32 * weights.reshape(-1, 32).max(axis=1).sum())
    expected = 1 - (1 - kept) ** sum(num_tries)
    deviation = np.sqrt(expected * (1 - expected) / NUM_SAMPLES)
    tokens = sample_often(row, 1.0)
    assert abs(len(tokens) / NUM_SAMPLES - expected) < 4 * deviation
    check_distribution(tokens, softmax(row, 1.0))


class SameNumber:
    """A generator that always returns the same number."""

    def __init__(self, number: float) -> None:
        self._number = number

    def random(self, shape: tuple[int, ...]) -> Array:
        return np.full(shape, self._number)


@pytest.mark.parametrize("share", [ALL_SUMMED, USUAL, NONE_SUMMED])
@pytest.mark.parametrize("number", [0.0, 0.5, np.nextafter(1, 0)])
def test_extreme_random_numbers_give_possible_tokens_or_none(
    number: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection, "LARGEST_SHARE", share)
    rows = np.full((2, 600), -np.inf, np.float32)
    rows[0, [5, 300, 400]] = 0.0
    rows[1] = -1e4
    rows[1, 200] = 7.0
    rng: Any = SameNumber(number)
    tokens = sample_by_rejection(logits_of(rows), np.ones(2, np.float32), rng)
    assert tokens[0] in (NO_TOKEN, 5, 300, 400)
    assert tokens[1] in (NO_TOKEN, 200)
    if share == ALL_SUMMED:
        assert NO_TOKEN not in tokens


@pytest.mark.parametrize("temperature", [1e-300, 1e-6, 1.0])
def test_logits_at_the_ends_of_f32(temperature: float) -> None:
    rows = np.full((2, 300), -3e38, np.float32)
    rows[:, 70] = 3e38
    rows[1, 200] = 3e38
    temperatures = np.full(2, temperature, np.float32)
    for seed in range(20):
        tokens = sample_by_rejection(logits_of(rows), temperatures, np.random.default_rng(seed))
        assert tokens[0] == 70
        assert tokens[1] in (70, 200)


@pytest.mark.parametrize("share", [ALL_SUMMED, USUAL, NONE_SUMMED])
def test_nan_is_never_chosen_and_other_rows_are_unaffected(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection, "LARGEST_SHARE", share)
    rows = np.zeros((100, 300), np.float32)
    rows[::2, :100] = np.nan
    tokens = sample_by_rejection(
        logits_of(rows), np.ones(100, np.float32), np.random.default_rng(8)
    )
    assert ((tokens[::2] == NO_TOKEN) | (tokens[::2] >= 100)).all()
    if share == ALL_SUMMED:
        assert (tokens[::2] == NO_TOKEN).all(), "the sum is NaN"
    assert (tokens[1::2] != NO_TOKEN).all()


@pytest.mark.parametrize("share", [ALL_SUMMED, USUAL, NONE_SUMMED])
@pytest.mark.parametrize("row", [ROWS["normal"], ROWS["peaked"]], ids=["normal", "peaked"])
def test_allowed_tokens_have_their_own_probability(
    row: Array, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection, "LARGEST_SHARE", share)
    is_forbidden = np.arange(300) % 3 > 0
    masks = [TokenMask(is_forbidden), TokenMask(~is_forbidden)] * (NUM_SAMPLES // 2)
    logits = logits_of(row[None].astype(np.float32), 32).select([0] * NUM_SAMPLES)
    temperatures = np.ones(NUM_SAMPLES, np.float32)
    tokens = sample_by_rejection(logits, temperatures, np.random.default_rng(1), masks)
    for first, forbidden in enumerate((is_forbidden, ~is_forbidden)):
        own = tokens[first::2]
        expected = np.where(forbidden, 0, softmax(row, 1.0))
        check_distribution(own[own != NO_TOKEN], expected / expected.sum())
        assert np.count_nonzero(own != NO_TOKEN) > 1000


def test_no_rows_give_no_tokens() -> None:
    logits = logits_of(np.zeros((1, 300), np.float32)).select([])
    assert len(sample_by_rejection(logits, np.zeros(0, np.float32), np.random.default_rng())) == 0


def test_rejection_is_not_used_with_limits_or_a_seed() -> None:
    free = SamplingParams()
    assert can_use_rejection(free, 300)
    assert can_use_rejection(replace(free, top_k=300, temperature=0.1), 300)
    limits: list[dict[str, Any]] = [{"top_k": 299}, {"top_p": 0.99}, {"min_p": 0.01}, {"seed": 0}]
    for fields in limits:
        assert not can_use_rejection(replace(free, **fields), 300)


def test_rejection_comes_first_and_exact_sampling_only_after_it_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.random.default_rng(9).normal(0, 1, (40, 300)).astype(np.float32)
    sequences = [make_sequence([1], temperature=1.0) for _ in rows]
    num_rows: list[int] = []
    sample_randomly = sampler.sample_randomly

    def count(logits: Any, params: Any, uniforms: Any) -> Any:
        num_rows.append(len(logits))
        return sample_randomly(logits, params, uniforms)

    monkeypatch.setattr(sampler, "sample_randomly", count)
    assert all(token.token_id is not None for token in sample(logits_of(rows), sequences))
    assert num_rows == []
    monkeypatch.setattr(rejection, "NUM_TRIES", ())
    assert all(token.token_id is not None for token in sample(logits_of(rows), sequences))
    assert num_rows == [40]
