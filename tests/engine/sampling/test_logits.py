"""Logits: reading a few tiles gives the same results as reading the whole row."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import logits_of, values_of

from server.engine.sampling.logits import Logits
from server.engine.sampling.logprobs import log_sums

Array = npt.NDArray[Any]


def kinds_of_rows(vocab_size: int) -> Array:
    """Rows that are random, flat, full of equal logits, peaked, and mostly impossible."""
    rng = np.random.default_rng(vocab_size)
    flat = np.zeros(vocab_size)
    peaked = rng.normal(size=vocab_size)
    peaked[rng.integers(vocab_size)] = 50
    impossible = np.full(vocab_size, -np.inf)
    impossible[rng.integers(vocab_size, size=3)] = rng.normal(size=3)
    rows = [rng.normal(size=vocab_size), flat, rng.integers(0, 3, vocab_size), peaked, impossible]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("vocab_size", [1, 2, 63, 64, 65, 1000, 50_001])
def test_the_likeliest_are_found_in_order(vocab_size: int) -> None:
    rows = kinds_of_rows(vocab_size)
    logits = logits_of(rows)
    for count in (0, 1, 2, 5, 20, 300):
        found = logits.likeliest(count)
        expected = np.argsort(-rows, axis=1, kind="stable")[:, :count]
        np.testing.assert_array_equal(found.token_ids, expected)
        np.testing.assert_array_equal(found.values, np.take_along_axis(rows, expected, axis=1))


def test_zeros_of_both_signs_are_equal_and_nan_is_never_likely() -> None:
    row = np.array([[-1.0, -0.0, np.nan, 0.0, -2.0, np.inf]], np.float32)
    assert logits_of(row).likeliest(5).token_ids.tolist() == [[5, 1, 3, 0, 4]]


@pytest.mark.parametrize("vocab_size", [1, 65, 50_001])
def test_argmax_takes_the_first_of_equal_logits(vocab_size: int) -> None:
    rows = kinds_of_rows(vocab_size)
    np.testing.assert_array_equal(logits_of(rows).argmax(), rows.argmax(axis=1))


@pytest.mark.parametrize("count", [1, 20, 1000])
def test_scales_of_rows_apply_to_every_way_of_reading(count: int) -> None:
    rows = kinds_of_rows(1000)[:4]
    scales = np.array([0.25, 2.0, 4.0, 0.5], np.float32)
    given, expected = logits_of(rows / scales[:, None], scales=scales), logits_of(rows)
    temperatures = np.array([1.0, 0.5, 2.0, 1.0], np.float32)
    bounds = expected.bounds_of_top(np.full(4, count))
    np.testing.assert_array_equal(given.bounds_of_top(np.full(4, count)), bounds)
    for read in (
        lambda logits: logits.highest,
        lambda logits: logits.argmax(),
        lambda logits: logits.of_tokens(np.array([0, 5, 99, 999])),
        lambda logits: logits.sums(temperatures),
        lambda logits: logits.likeliest(count).token_ids,
        lambda logits: logits.likeliest(count).values,
        lambda logits: logits.select([2, 0]).in_tile(np.array([3, 0])),
        lambda logits: logits.select([3]).at_least(bounds[3:]).values,
        lambda logits: logits.processed_copy(lambda i, row: None).likeliest(count).values,
    ):
        np.testing.assert_array_equal(read(given), read(expected))


def test_no_log_probability_is_above_0() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 1000)).astype(np.float32)
    rows[:, 7] = 40
    logits = logits_of(rows, scales=rng.uniform(0.1, 10, 20).astype(np.float32))
    assert (chosen_logprob(logits) <= 0).all()
    assert (chosen_logprob(logits) > -1e-6).any()


def chosen_logprob(logits: Logits) -> Array:
    return logits.of_tokens(logits.argmax()) - log_sums(logits)


def test_all_logits_of_a_row_with_scale_nan_are_nan() -> None:
    rows = kinds_of_rows(1000)[:2]
    logits = logits_of(rows, scales=np.array([np.nan, 1.0], np.float32))
    assert np.isnan(logits.of_tokens(logits.argmax())).tolist() == [True, False]


def test_tokens_above_a_bound() -> None:
    rows = kinds_of_rows(1000)
    bounds = np.array([1.0, 0.0, 2.0, 60.0, -np.inf], np.float32)
    found = logits_of(rows).at_least(bounds)
    for row, bound, ids, values in zip(rows, bounds, found.token_ids, found.values, strict=True):
        expected = np.flatnonzero(row >= bound)
        expected = expected[row[expected] > -np.inf]
        is_token = values > -np.inf
        np.testing.assert_array_equal(ids[is_token], expected)
        np.testing.assert_array_equal(values[is_token], row[expected])


def test_every_row_is_in_one_batch() -> None:
    rng = np.random.default_rng(0)
    logits = logits_of(rng.normal(size=(100, 40_000)).astype(np.float32))
    bounds = np.where(rng.random(100) < 0.2, -np.inf, 3.0).astype(np.float32)
    batches = list(logits.batches(bounds))
    assert sorted(np.concatenate(batches)) == list(range(100))
    assert max(map(len, batches)) > 1
    assert all(len(batch) == 1 for batch in batches if np.isinf(bounds[batch]).any())


@pytest.mark.parametrize("counts", [[1, 3, 1000, 40, 5], [16, 17, 15, 1, 2]])
def test_bounds_of_top_are_reached_by_enough_logits(counts: list[int]) -> None:
    rows = kinds_of_rows(1000)
    bounds = logits_of(rows).bounds_of_top(np.array(counts))
    assert ((rows >= bounds[:, None]).sum(axis=1) >= counts).all()


@pytest.mark.parametrize("temperature", [1e-5, 0.3, 1.0, 2.0])
def test_sums_of_weights(temperature: float) -> None:
    rows = kinds_of_rows(1000)
    logits = logits_of(rows)
    sums = logits.sums(np.full(len(rows), temperature, np.float32))
    scaled = (rows.astype(np.float64) - rows.max(axis=1, keepdims=True)) / np.float32(temperature)
    expected = np.pad(np.exp(scaled), ((0, 0), (0, 24))).reshape(len(rows), 16, 64).sum(axis=2)
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("which", [range(100), [99, 3, 4, 5, 0, 1, 7], [4, 4], []])
def test_sums_of_some_rows_are_those_of_each_alone(which: list[int]) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(100, 1000)).astype(np.float32)
    temperatures = rng.uniform(0.1, 2, 100).astype(np.float32)
    logits = logits_of(rows)
    found = logits.select(list(which)).sums(temperatures[list(which)])
    assert found.shape == (len(which), 16)
    for i, sums in zip(which, found, strict=True):
        alone = logits.select([i]).sums(temperatures[[i]])[0]
        np.testing.assert_allclose(sums, alone, rtol=1e-6)


@pytest.mark.parametrize("tiles", [slice(0, 4), slice(5, 6), slice(12, 17)])
@pytest.mark.parametrize("scale", [None, 0.25])
def test_sums_of_likelier_tokens_in_some_tiles(tiles: slice, scale: float | None) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(100, 1000)).astype(np.float32)
    temperatures = rng.uniform(0.1, 2, 50).astype(np.float32)
    tokens = rng.integers(0, 1000, 50)
    which = rng.integers(0, 100, 50)
    scales = None if scale is None else np.full(100, scale, np.float32)
    logits = logits_of(rows / np.float32(scale or 1), 64, scales)
    found = logits.select(which).sums_above(temperatures, tokens, tiles)
    mine = rows[which].astype(np.float64)
    scaled = (mine - mine.max(axis=1, keepdims=True)) / temperatures[:, None]
    weights = np.where(rows[which] > rows[which, tokens][:, None], np.exp(scaled), 0)
    expected = weights[:, tiles.start * 64 : tiles.stop * 64].sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 31, 500, 999])
def test_nan_and_infinity_make_a_sum_not_finite(bad: float, place: int) -> None:
    rows = np.zeros((1, 1000), np.float32)
    logits = logits_of(rows)
    values_of(logits, 0)[place] = bad
    assert not np.isfinite(logits.sums(np.ones(1, np.float32))).all()


def test_a_processed_copy_leaves_the_original_unchanged() -> None:
    rows = kinds_of_rows(1000)
    logits = logits_of(rows)

    def change(index: int, row: Array) -> None:
        assert len(row) == 1000
        if index == 0:
            row[[5, 999]] = 70, 80
        elif index == 1:
            row[:] = -np.inf

    copied = logits.select([3, 0, 3]).processed_copy(change)
    assert copied.argmax().tolist()[::2] == [999, rows[3].argmax()]
    assert copied.likeliest(2).token_ids[0].tolist() == [999, 5]
    assert copied.highest[1] == -np.inf
    np.testing.assert_array_equal([values_of(logits, i) for i in range(len(rows))], rows)


@pytest.mark.parametrize("scales", [None, np.array([0.25, 2.0, 4.0, 0.5], np.float32)])
@pytest.mark.parametrize("by", [-40.0, -0.5, 0.5, 40.0, -np.inf])
def test_rows_processed_in_place_equal_processed_copies(scales: Array | None, by: float) -> None:
    rows = kinds_of_rows(1000)[:4]
    logits = logits_of(rows, scales=scales)
    before = [values_of(logits, i).copy() for i in range(4)]
    rng = np.random.default_rng(0)
    order = [2, 0, 3]
    # Tokens may be named twice, and some of the likeliest are among them.
    tokens = [
        np.concatenate([logits.likeliest(3).token_ids[row], rng.integers(0, 1000, size)])
        for row, size in zip(order, (5, 300, 0), strict=True)
    ]

    places = np.concatenate([row * 1024 + ids for row, ids in zip(order, tokens, strict=True)])

    def change(index: int, row: Array) -> None:
        row[tokens[index]] += np.float32(by)

    def change_all(all_logits: Array) -> None:
        all_logits[places] += np.float32(by)

    expected = logits.select(order).processed_copy(change)
    with logits.select(order).processed_in_place(places, change_all) as processed:
        assert processed.argmax().tolist() == expected.argmax().tolist()
        np.testing.assert_array_equal(processed.highest, expected.highest)
        for count in (1, 30, 1000):
            found, wanted = processed.likeliest(count), expected.likeliest(count)
            np.testing.assert_array_equal(found.token_ids, wanted.token_ids)
            np.testing.assert_array_equal(found.values, wanted.values)
        np.testing.assert_array_equal(processed.sums(np.ones(3, np.float32)), sums_of(expected))
    for i in range(4):
        np.testing.assert_array_equal(values_of(logits, i), before[i])
    np.testing.assert_array_equal(logits.argmax(), logits_of(rows).argmax())


def sums_of(logits: Logits) -> Array:
    return logits.sums(np.ones(len(logits), np.float32))


def test_rows_are_restored_when_processing_in_place_fails() -> None:
    rows = kinds_of_rows(100)
    logits = logits_of(rows)

    places = (logits.row_starts[:, None] + [0, 1]).ravel()

    def change(all_logits: Array) -> None:
        all_logits[places] = 1000

    def fail(all_logits: Array) -> None:
        change(all_logits)
        raise ValueError("no")

    with pytest.raises(ValueError, match="^no$"), logits.processed_in_place(places, fail):
        pass
    np.testing.assert_array_equal([values_of(logits, i) for i in range(len(rows))], rows)
    with pytest.raises(KeyError), logits.processed_in_place(places, change):
        raise KeyError
    np.testing.assert_array_equal([values_of(logits, i) for i in range(len(rows))], rows)


def test_processing_no_rows_or_no_tokens_in_place() -> None:
    logits = logits_of(kinds_of_rows(100))
    none = np.zeros(0, np.int64)
    with logits.select([]).processed_in_place(none, lambda _: None) as processed:
        assert len(processed) == 0
    with logits.processed_in_place(none, lambda _: None) as processed:
        np.testing.assert_array_equal(processed.argmax(), logits.argmax())
