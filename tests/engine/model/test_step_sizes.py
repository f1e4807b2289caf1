from itertools import pairwise

import pytest

from server.engine.model.step_sizes import StepSizes


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 64, 100, 256, 1000, 8192])
def test_sizes_ascend_to_the_limit(limit: int) -> None:
    sizes = StepSizes(limit).sizes
    assert (sizes[0], sizes[-1]) == (1, limit)
    assert list(sizes) == sorted(set(sizes))


def test_a_few_sizes_are_enough() -> None:
    assert len(StepSizes(256).sizes) == 48
    assert len(StepSizes(100_000).sizes) < 130


def test_padding_is_at_most_an_eighth() -> None:
    steps = StepSizes(3000)
    for num_tokens in range(1, 3001):
        size = steps.padded(num_tokens)
        assert size in steps.sizes
        assert num_tokens <= size
        assert size - num_tokens <= num_tokens / 8


@pytest.mark.parametrize("limit", [1, 2, 3, 16, 100, 256])
def test_the_first_sizes_in_order_are_spread_over_all(limit: int) -> None:
    steps = StepSizes(limit)
    order = list(steps.spread(200))
    assert sorted(order) == [size for size in steps.sizes if size <= 200]
    # Half of them leave no gap of more than one.
    half = sorted(steps.sizes.index(size) for size in order[: len(order) // 2 + 1])
    assert all(second - first <= 2 for first, second in pairwise(half))


def test_a_step_above_the_limit_is_not_padded() -> None:
    assert StepSizes(10).padded(11) == 11
