"""PrefixSharing in the scheduler: a common prefix is read once, and no wait lasts for ever."""

from typing import Any

import pytest
from support.fake_engine import SIZE, FakeEngine, parts

from server.engine.scheduling.prefix_sharing import PrefixSharing
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence

PREFIX = list(range(100, 132))


def make_engine(**fields: Any) -> FakeEngine:
    return FakeEngine(**{"caching": True, "budget": 16, "num_blocks": 200, **fields})


def add_burst(engine: FakeEngine, count: int, **fields: Any) -> list[Sequence]:
    """Prompts with a common prefix of 32 tokens and 2 tokens of their own."""
    return [engine.add_prompt([*PREFIX, n, n], **fields) for n in range(count)]


def table(steps: list[ScheduledStep], sequences: list[Sequence]) -> list[list[int]]:
    return [parts(step, sequences) for step in steps]


def test_a_burst_reads_its_prefix_once() -> None:
    engine = make_engine(budget=20)
    sequences = add_burst(engine, 4)
    assert table(engine.run(), sequences) == [
        [20, 0, 0, 0],
        [14, 0, 0, 0],
        [0, 2, 2, 2],
    ]
    assert engine.stats.prefix_waits == 3
    assert [s.request.num_cached_tokens for s in sequences] == [0, 32, 32, 32]


def test_equal_prompts_leave_one_block_at_most_to_read() -> None:
    engine = make_engine(budget=64)
    sequences = [engine.add_prompt(PREFIX) for _ in range(3)]
    assert table(engine.run(), sequences) == [[32, 0, 0], [0, SIZE, SIZE]]


def test_without_split_fuse_too() -> None:
    engine = make_engine(budget=64, split_fuse=False)
    sequences = add_burst(engine, 3)
    assert table(engine.run(), sequences) == [[34, 0, 0], [0, 2, 2]]


def test_a_prompt_that_waits_for_a_prefix_does_not_block_others() -> None:
    engine = make_engine(budget=40)
    first, alike = add_burst(engine, 2)
    other = engine.add_prompt([1, 2, 3])
    assert table(engine.run(), [first, alike, other]) == [[34, 0, 3], [0, 2, 0]]


@pytest.mark.parametrize(
    "fields",
    [
        [{}, {"cache_salt": b"a"}],
        [{"cache_salt": b"b"}, {"cache_salt": b"a"}],
        [{}, {"prompt_logprobs": 0}],
    ],
)
def test_other_salts_and_prompt_log_probabilities_read_for_themselves(
    fields: list[dict[str, Any]],
) -> None:
    engine = make_engine()
    first = engine.add_prompt(PREFIX, **fields[0])
    engine.step()
    second = engine.add_prompt(PREFIX, **fields[1])
    steps = engine.run()
    assert sum(parts(step, [second])[0] for step in steps) == len(PREFIX)
    assert engine.stats.prefix_waits == 0
    assert {first, second} == set(engine.finished)


def test_an_urgent_prompt_does_not_wait_for_another() -> None:
    engine = make_engine(budget=12)
    slow = engine.add_prompt(PREFIX, priority=1)
    engine.step()
    engine.step()
    urgent = engine.add_prompt(PREFIX, priority=0)
    assert table(engine.run(), [slow, urgent]) == [[4, 8], [4, 0]]


def test_no_prefix_is_waited_for_without_a_cache() -> None:
    engine = make_engine(caching=False, budget=80)
    sequences = add_burst(engine, 2)
    assert table(engine.run(), sequences) == [[34, 34]]


def test_a_reader_of_prompt_log_probabilities_can_be_waited_for() -> None:
    engine = make_engine(max_num_prompt_rows=20)
    sequences = [engine.add_prompt(PREFIX, prompt_logprobs=0), engine.add_prompt(PREFIX)]
    assert table(engine.run(), sequences) == [[16, 0], [16, 0], [0, SIZE]]


@pytest.mark.parametrize("num_steps", [1, 2])
def test_when_the_reader_is_aborted_the_next_one_reads_on(num_steps: int) -> None:
    engine = make_engine(budget=8)
    sequences = add_burst(engine, 3)
    for _ in range(num_steps):
        engine.step()
    engine.abort(sequences[0])
    steps = table(engine.run(), sequences[1:])
    assert sum(map(sum, steps)) == 34 - 8 * num_steps + 2, "one goes on, the other waits for it"
    assert engine.finished == sequences[1:]


def test_when_the_reader_is_preempted_the_wait_ends() -> None:
    engine = make_engine(budget=3, num_blocks=6, max_num_prompt_rows=1)
    first = engine.add_prompt([1], max_tokens=20)
    engine.step()
    reader = engine.add_prompt(PREFIX[:16], prompt_logprobs=0)
    alike = engine.add_prompt(PREFIX[:16])
    while engine.stats.preemptions == 0:
        engine.step()
    assert reader.num_generated_tokens == 0
    assert engine.stats.prefix_waits == 1
    engine.run()
    assert set(engine.finished) == {first, reader, alike}


def test_a_waiting_prompt_can_be_aborted() -> None:
    engine = make_engine()
    sequences = add_burst(engine, 3)
    engine.step()
    engine.abort(sequences[1])
    engine.run()
    assert engine.finished == [sequences[0], sequences[2]]


def test_a_prompt_whose_prefix_was_lost_reads_it_itself() -> None:
    engine = make_engine()
    sequences = add_burst(engine, 2)
    engine.step()
    engine.kv.forget_prefixes()
    engine.run()
    assert engine.finished == sequences
    assert sequences[1].request.num_cached_tokens == 0


def test_a_cached_prefix_is_not_waited_for() -> None:
    sharing = PrefixSharing(SIZE, enable_prefix_caching=True)
    reader, follower = add_burst(make_engine(), 2)
    sharing.set_readers([reader])
    assert sharing.wait(follower, 31)
    assert not sharing.wait(follower, 32)


def test_a_long_prompt_takes_the_turn_of_the_short_one_that_waits_for_it() -> None:
    engine = make_engine()
    long = engine.add_prompt([*PREFIX, *range(60)])
    engine.step()
    short, other = engine.add_prompt([*PREFIX, 7]), engine.add_prompt(range(20, 60))
    steps = table(engine.run(), [long, short, other])
    assert steps[:3] == [[4, 0, 12], [16, 0, 0], [4, 1, 11]]


def test_a_prefix_is_waited_for_only_up_to_where_it_ends() -> None:
    engine = make_engine()
    long = engine.add_prompt([*PREFIX[:18], *range(40)])
    engine.step()
    short = engine.add_prompt([*PREFIX[:18], 7])
    assert table(engine.run(), [long, short])[:2] == [[13, 3], [16, 0]]
