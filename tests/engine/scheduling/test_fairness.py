"""Fairness of the scheduler: what goes first, and that nothing waits for ever."""

import random
from typing import Any

import pytest
from support.fake_engine import SIZE, FakeEngine, parts

from server.engine.kv.block_pool import BlockPool
from server.engine.scheduling.bypass_counts import MAX_BYPASSES
from server.engine.sequence import Sequence, SequenceStatus


def steps_until(engine: FakeEngine, sequence: Sequence, limit: int) -> int:
    """Steps that the engine takes until a sequence has its first token."""
    for count in range(1, limit + 1):
        engine.step()
        if sequence.num_generated_tokens:
            return count
    pytest.fail(f"no token after {limit} steps")


def test_a_long_prompt_does_not_hold_back_short_ones() -> None:
    engine = FakeEngine(num_blocks=500)
    long = engine.add(1000, max_tokens=1)
    engine.step()
    short = [engine.add(12, max_tokens=1) for _ in range(3)]
    assert parts(engine.step(), [long, *short]) == [4, 12, 0, 0]
    assert parts(engine.step(), [long, *short]) == [4, 0, 12, 0]


def test_short_prompts_do_not_hold_back_a_long_one() -> None:
    engine = FakeEngine(num_blocks=500)
    long = engine.add(400, max_tokens=1)
    engine.step()
    num_steps = 0
    while not long.num_generated_tokens:
        engine.add(16, max_tokens=1)
        engine.step()
        num_steps += 1
    assert num_steps <= 384 / (16 / 4), "a quarter of each step was for the long one"


def test_the_share_of_a_long_prompt_is_saved_up_as_its_past_grows() -> None:
    engine = FakeEngine(num_blocks=2000)
    long = engine.add(2000, max_tokens=1)
    while long.num_computed_tokens < 600:
        engine.step()
    chunks = []
    for _ in range(9):
        engine.add(16, max_tokens=1)
        chunks += parts(engine.step(), [long])
    # The past is 600 tokens long, so that a chunk of fewer than 9 is not worth it.
    assert sorted(chunks) == [0] * 6 + [12] * 3


def test_an_earlier_prompt_is_started_after_a_bounded_number_of_later_ones() -> None:
    engine = FakeEngine(max_num_seqs=1)
    engine.add(1, max_tokens=2)
    engine.step()
    long = engine.add(60, max_tokens=1)
    later = [engine.add(3, max_tokens=1) for _ in range(MAX_BYPASSES + 20)]
    engine.run()
    position = engine.finished.index(long)
    assert engine.finished[1:position] == later[:MAX_BYPASSES]


def test_a_high_priority_number_is_only_bypassed_so_often() -> None:
    engine = FakeEngine(max_num_seqs=2)
    patient = engine.add(3, max_tokens=1, priority=10**9)
    num_finished = 0
    while patient not in engine.finished:
        while engine.scheduler.num_waiting < 4:
            engine.add(3, max_tokens=3)
        engine.step()
        num_finished = len(engine.finished)
        assert num_finished < MAX_BYPASSES + 10
    assert num_finished >= MAX_BYPASSES - 2, "until then the others go first"


def test_what_waited_long_enough_is_not_preempted_for_others() -> None:
    engine = FakeEngine(num_blocks=6, max_num_seqs=4)
    patient = engine.add(5, max_tokens=15, priority=5)
    num_started = 0
    while patient not in engine.finished:
        while engine.scheduler.num_waiting < 4:
            engine.add(5, max_tokens=9)
            num_started += 1
        engine.step()
        assert num_started < 2 * MAX_BYPASSES
    assert engine.stats.preemptions > 0


def test_what_needs_many_blocks_gets_them_in_spite_of_others_that_need_few() -> None:
    engine = FakeEngine(num_blocks=8, max_num_seqs=8)
    engine.add(4, max_tokens=4)
    engine.step()
    large = engine.add(31, max_tokens=1)
    num_added = 0
    while large.status is SequenceStatus.WAITING:
        while engine.scheduler.num_waiting < 3:
            engine.add(3, max_tokens=6)
            num_added += 1
        engine.step()
        assert num_added < MAX_BYPASSES + 10
    engine.run()


def test_a_cached_prompt_goes_before_a_shorter_one_that_is_not() -> None:
    engine = FakeEngine(max_num_seqs=1, caching=True)
    engine.add_prompt(range(40))
    engine.run()
    unknown = engine.add_prompt(range(100, 120))
    cached = engine.add_prompt(range(44))
    engine.run()
    assert engine.finished[1:] == [cached, unknown]


def test_what_becomes_cached_while_it_waits_goes_first_too() -> None:
    engine = FakeEngine(max_num_seqs=1, caching=True)
    engine.add_prompt(range(40))
    other, alike = engine.add_prompt(range(100, 150)), engine.add_prompt(range(60))
    engine.run()
    assert engine.finished[1:] == [alike, other]


def test_the_prefix_of_a_blocked_prompt_is_not_looked_up_again_while_nothing_of_it_is_cached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    num_lookups = 0
    lookup = BlockPool.lookup

    def counting_lookup(pool: BlockPool, prefix: int, content: Any) -> tuple[int, int] | None:
        nonlocal num_lookups
        num_lookups += 1
        return lookup(pool, prefix, content)

    engine = FakeEngine(num_blocks=64, caching=True)
    engine.add_prompt(range(200))
    engine.run()
    engine.add_prompt([500], max_tokens=200)
    for _ in range(40):
        engine.step()
    blocked = engine.add_prompt([*range(200), *[9] * 40])
    engine.step()
    monkeypatch.setattr(BlockPool, "lookup", counting_lookup)
    for _ in range(20):
        engine.step()
    assert blocked.status is SequenceStatus.WAITING
    assert num_lookups == 0
    engine.run()


def test_a_preempted_answer_goes_on_before_new_prompts() -> None:
    engine = FakeEngine(num_blocks=6)
    first, second = (engine.add(7, max_tokens=12) for _ in range(2))
    while engine.stats.preemptions == 0:
        engine.step()
    short = engine.add(2, max_tokens=1)
    while short.status is SequenceStatus.WAITING:
        assert second.status is SequenceStatus.WAITING
        engine.step()
    assert second.status is not SequenceStatus.WAITING
    engine.run()
    assert engine.finished[0] is first


@pytest.mark.parametrize("seed", range(8))
def test_nobody_is_bypassed_more_often_than_the_bound(seed: int) -> None:
    """Under random overload the order of starts keeps to the bound."""
    rng = random.Random(seed)
    engine = FakeEngine(rng.randint(8, 30), rng.randint(4, 16), rng.randint(1, 6))
    all_added: list[Sequence] = []
    for _ in range(1500):
        if rng.random() < 0.8:
            size = rng.choice([2, 3, 4, 30])
            all_added.append(engine.add(size, 1, priority=rng.choice([0, 0, 1])))
        if engine.scheduler.has_work:
            engine.step()
    engine.run()
    assert set(engine.finished) == set(all_added)
    # Those which start in one step do not see each other.
    limit = MAX_BYPASSES + engine.max_num_seqs - 1
    assert max(s.request.num_bypasses for s in all_added) <= limit


def test_blocks_of_half_read_prompts_are_counted_before_others_start() -> None:
    engine = FakeEngine(num_blocks=20)
    sequences = [engine.add(15 * SIZE, max_tokens=1), engine.add(6 * SIZE, max_tokens=1)]
    engine.run()
    assert engine.stats.preemptions == 0
    assert engine.finished == [sequences[1], sequences[0]]
