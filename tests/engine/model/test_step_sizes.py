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


def test_a_step_above_the_limit_is_not_padded() -> None:
    assert StepSizes(10).padded(11) == 11


def test_a_size_is_padded_to_the_one_that_stands_in_for_it() -> None:
    steps = StepSizes(100)
    steps.stand_ins = {36: 48}
    assert [steps.padded(n) for n in (32, 33, 36, 37)] == [32, 48, 48, 40]
    assert [steps.own_size(n) for n in (33, 101)] == [36, 101]
