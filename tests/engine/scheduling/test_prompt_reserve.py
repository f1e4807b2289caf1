"""PromptReserve: a quarter of the prefill budget, saved up until it is worth a chunk."""

from support.engine_helpers import make_sequence

from server.engine.scheduling.prompt_reserve import PromptReserve
from server.engine.sequence import Sequence


def reading(num_computed: int) -> Sequence:
    sequence = make_sequence(range(2000))
    sequence.num_computed_tokens = num_computed
    return sequence


def test_a_new_prompt_gets_a_quarter_of_each_step() -> None:
    share, sequence = PromptReserve(), reading(0)
    assert [share.take(sequence, room) for room in (16, 16, 3, 1, 0)] == [4, 4, 1, 1, 0]


def test_with_a_long_past_it_saves_up_for_larger_chunks() -> None:
    share, sequence = PromptReserve(), reading(640)
    assert [share.take(sequence, 16) for _ in range(6)] == [0, 0, 12, 0, 0, 12]


def test_it_never_takes_more_than_there_is_room_for() -> None:
    share, sequence = PromptReserve(), reading(640)
    assert [share.take(sequence, room) for room in (16, 16, 5, 16)] == [0, 0, 5, 0]


def test_another_prompt_has_nothing_saved() -> None:
    share, first, second = PromptReserve(), reading(640), reading(640)
    assert [share.take(first, 16) for _ in range(2)] == [0, 0]
    assert [share.take(second, 16) for _ in range(3)] == [0, 0, 12]
