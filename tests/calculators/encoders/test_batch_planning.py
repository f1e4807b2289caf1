"""Shapes of batches: few of them, and little padding."""

import random

import pytest

from calculators.encoders.batch_planning import padded_length, padded_num_rows, plan_batches


def test_lengths_are_padded_to_few_sizes() -> None:
    sizes = {padded_length(n, 8192) for n in range(1, 8193)}
    assert len(sizes) < 80
    assert all(n <= padded_length(n, 8192) <= max(8, n * 9 / 8 + 7) for n in range(1, 8193))


def test_a_length_is_never_padded_past_the_positions_of_the_model() -> None:
    assert [padded_length(n, 499) for n in (1, 481, 499)] == [8, 499, 499]


def test_numbers_of_rows_are_padded_to_few_sizes() -> None:
    assert [padded_num_rows(n) for n in (1, 2, 3, 5, 8, 9, 17, 64)] == [1, 2, 3, 5, 8, 10, 20, 64]


def test_rows_of_one_length_are_one_batch() -> None:
    assert [len(batch) for batch in plan_batches([16] * 64, 2048)] == [64]


def test_a_batch_has_no_more_tokens_than_the_budget() -> None:
    batches = plan_batches([128] * 64, 2048)
    assert [len(batch) for batch in batches] == [16] * 4


def test_a_row_that_is_longer_than_the_budget_runs_alone() -> None:
    assert sorted(plan_batches([512, 512], 100)) == [[0], [1]]


def test_short_rows_are_not_padded_to_a_long_one() -> None:
    batches = plan_batches([512, *[16] * 20], 4096)
    assert sorted(map(len, batches)) == [1, 20]


def test_lengths_that_differ_little_share_a_batch() -> None:
    assert len(plan_batches([32, 40] * 4, 4096)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_in_one_batch_within_the_budget(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [padded_length(rng.randint(1, 512), 512) for _ in range(rng.randint(1, 100))]
    batches = plan_batches(lengths, 1024)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert padded_num_rows(len(batch)) * max(lengths[index] for index in batch) <= 1024
