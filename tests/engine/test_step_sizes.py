import pytest

from server.engine.step_sizes import StepSizes


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 64, 100, 256, 1000, 8192])
def test_the_sizes_rise_to_the_limit(limit: int) -> None:
    sizes = StepSizes(limit).sizes
    assert (sizes[0], sizes[-1]) == (1, limit)
    assert list(sizes) == sorted(set(sizes))


def test_a_few_sizes_are_enough() -> None:
    assert len(StepSizes(256).sizes) == 15
    assert len(StepSizes(100_000).sizes) < 100


def test_every_step_fits_its_size_and_wastes_little() -> None:
    steps = StepSizes(3000)
    for num_tokens in range(1, 3001):
        size = steps.padded(num_tokens)
        assert size in steps.sizes
        assert num_tokens <= size
        assert size - num_tokens < max(32, num_tokens / 8 + 1)


def test_more_than_the_limit_is_not_padded() -> None:
    assert StepSizes(10).padded(11) == 11
