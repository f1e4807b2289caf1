"""Fairness of the scheduler: what goes first, and that nothing waits for ever."""

import random
from typing import Any

import pytest
from support.fake_engine import SIZE, FakeEngine, parts

from server.engine.kv.block_pool import BlockPool
from server.engine.scheduling.patience import MAX_WAIT_S, NOMINAL_TOKEN_S, PATIENCE
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


def test_later_prompts_go_first_for_a_multiple_of_the_time_that_reading_takes() -> None:
    engine = FakeEngine(max_num_seqs=1, step_s=0.02)
    engine.add(1, max_tokens=2)
    engine.step()
    long = engine.add(60, max_tokens=1)
    arrived_s = engine.now_s
    while not long.has_started:
        if engine.scheduler.num_waiting < 3:
            engine.add(3, max_tokens=1)
        engine.step()
    difference_s = PATIENCE * NOMINAL_TOKEN_S * (60 - 3)
    # Two others wait, which came before that.
    assert difference_s < engine.now_s - arrived_s < difference_s + 0.1


def test_a_high_priority_number_only_waits_so_long() -> None:
    engine = FakeEngine(max_num_seqs=2, step_s=0.5)
    patient = engine.add(3, max_tokens=1, priority=10**9)
    while patient not in engine.finished:
        while engine.scheduler.num_waiting < 4:
            engine.add(3, max_tokens=3)
        engine.step()
        assert engine.now_s < MAX_WAIT_S + 5
    assert engine.now_s >= MAX_WAIT_S, "until then the others go first"


def test_what_waited_long_enough_is_not_preempted_for_others() -> None:
    engine = FakeEngine(num_blocks=6, max_num_seqs=4, step_s=1.0)
    patient = engine.add(5, max_tokens=15, priority=5)
    while patient not in engine.finished:
        while engine.scheduler.num_waiting < 4:
            engine.add(5, max_tokens=9)
        engine.step()
        assert engine.now_s < 3 * MAX_WAIT_S
    assert engine.stats.preemptions > 0
    assert engine.now_s > MAX_WAIT_S


def test_what_needs_many_blocks_gets_them_in_spite_of_others_that_need_few() -> None:
    engine = FakeEngine(num_blocks=8, max_num_seqs=8, step_s=0.02)
    engine.add(4, max_tokens=4)
    engine.step()
    large = engine.add(31, max_tokens=1)
    while large.status is SequenceStatus.WAITING:
        while engine.scheduler.num_waiting < 3:
            engine.add(3, max_tokens=6)
        engine.step()
        assert engine.now_s < 1
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
def test_nothing_starts_before_a_prompt_that_is_due_earlier(seed: int) -> None:
    """Under random overload; answers that were preempted and other priorities are left out."""
    rng = random.Random(seed)
    engine = FakeEngine(rng.randint(8, 30), rng.randint(4, 16), rng.randint(1, 6), step_s=0.01)

    def due_s(sequence: Sequence) -> float:
        reading_s = NOMINAL_TOKEN_S * sequence.num_prompt_tokens
        return sequence.request.arrived_s + min(MAX_WAIT_S, PATIENCE * reading_s)

    for _ in range(1500):
        if rng.random() < 0.8:
            size = rng.choice([2, 3, 4, 30])
            engine.add(size, 1, priority=rng.choice([0, 0, 1]))
        new = [s for s in engine.live if not s.has_started]
        if not engine.scheduler.has_work:
            continue
        engine.step()
        for priority in (0, 1):
            same = [s for s in new if s.request.priority == priority]
            started = [due_s(s) for s in same if s.has_started]
            waiting = [due_s(s) for s in same if not s.has_started]
            assert max(started, default=0) <= min(waiting, default=1e9) + 1e-5
    engine.run()
    assert set(engine.finished) == set(engine.added)


def test_blocks_of_half_read_prompts_are_counted_before_others_start() -> None:
    engine = FakeEngine(num_blocks=20)
    sequences = [engine.add(15 * SIZE, max_tokens=1), engine.add(6 * SIZE, max_tokens=1)]
    engine.run()
    assert engine.stats.preemptions == 0
    assert engine.finished == [sequences[1], sequences[0]]
