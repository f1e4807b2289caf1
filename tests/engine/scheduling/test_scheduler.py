"""Scheduler: budget, order, chunks, seats, preemption; and long runs against a fake model."""

import random

import pytest
from support.engine_helpers import check_blocks, make_sequence
from support.fake_engine import SIZE, FakeEngine, parts

from server.engine.sequence import SequenceStatus


def test_no_work_gives_an_empty_step() -> None:
    scheduler = FakeEngine().scheduler
    assert not scheduler.has_work
    assert scheduler.schedule().sequences == []


def test_prompts_are_cut_into_chunks_of_the_budget() -> None:
    engine = FakeEngine(budget=16)
    sequence = engine.add(40, max_tokens=1)
    assert [parts(step, [sequence]) for step in engine.run()] == [[16], [16], [8]]


def test_decoding_goes_on_while_a_long_prompt_is_read() -> None:
    engine = FakeEngine(budget=8)
    short = engine.add(3, max_tokens=4)
    engine.step()
    long = engine.add(20, max_tokens=1)
    sequences = [short, long]
    assert [parts(step, sequences) for step in engine.run()] == [[1, 7], [1, 7], [1, 6]]


def test_of_several_prompts_the_shortest_is_read_first() -> None:
    engine = FakeEngine(budget=10)
    sequences = [engine.add(size, max_tokens=1) for size in (4, 9, 3)]
    assert [parts(step, sequences) for step in engine.run()] == [[4, 3, 3], [0, 6, 0]]


def test_equal_prompts_are_read_in_order_of_arrival() -> None:
    engine = FakeEngine(budget=4)
    sequences = [engine.add(6, max_tokens=1) for _ in range(2)]
    assert [parts(step, sequences) for step in engine.run()] == [[4, 0], [2, 2], [0, 4]]


@pytest.mark.parametrize("split_fuse", [True, False])
def test_a_step_has_a_limited_number_of_prompt_logits(split_fuse: bool) -> None:
    engine = FakeEngine(budget=64, split_fuse=split_fuse, max_num_prompt_rows=5)
    plain = engine.add(20, max_tokens=1)
    asked = [engine.add(size, max_tokens=1, prompt_logprobs=0) for size in (12, 8)]
    sequences = [plain, *asked]
    steps = [parts(step, sequences) for step in engine.run()]
    assert steps == [[20, 0, 5], [0, 2, 3], [0, 5, 0], [0, 5, 0]]


def test_prompts_with_log_probabilities_do_not_use_the_cache() -> None:
    engine = FakeEngine(caching=True)
    for prompt_logprobs, num_cached in ((None, 0), (None, 8), (0, 0), (None, 8)):
        sequence = engine.add(9, max_tokens=1, prompt_logprobs=prompt_logprobs)
        (step,) = engine.run()
        assert step.num_new_tokens == [9 - num_cached]
        assert sequence.request.num_cached_tokens == num_cached


def test_a_lower_priority_starts_first_and_equal_ones_in_order_of_arrival() -> None:
    engine = FakeEngine(budget=4)
    priorities = [1, 0, 1, -5, 0]
    sequences = [engine.add(4, max_tokens=1, priority=priority) for priority in priorities]
    engine.run()
    assert engine.finished == [sequences[i] for i in (3, 1, 4, 0, 2)]


def test_a_lower_priority_does_not_stop_what_runs() -> None:
    engine = FakeEngine(max_num_seqs=1)
    first = engine.add(4, max_tokens=4, priority=9)
    engine.step()
    second = engine.add(4, max_tokens=1, priority=-9)
    engine.run()
    assert engine.finished == [first, second]
    assert engine.stats.preemptions == 0


def test_a_prompt_of_a_lower_priority_is_read_before_an_earlier_one() -> None:
    engine = FakeEngine(budget=8)
    early = engine.add(20, max_tokens=1, priority=1)
    engine.step()
    urgent = engine.add(20, max_tokens=1, priority=0)
    sequences = [early, urgent]
    # A quarter stays for the one that was there first.
    assert [parts(step, sequences) for step in engine.run()] == [
        [2, 6],
        [2, 6],
        [2, 6],
        [6, 2],
    ]


def test_when_blocks_run_out_the_highest_priority_number_is_preempted() -> None:
    engine = FakeEngine(num_blocks=5)
    early = engine.add(7, max_tokens=9, priority=1)
    late = engine.add(7, max_tokens=9, priority=0)
    engine.run()
    assert engine.stats.preemptions > 0
    assert engine.finished == [late, early]


def test_max_num_seqs_limits_what_runs() -> None:
    engine = FakeEngine(max_num_seqs=2)
    for _ in range(5):
        engine.add(3)
    engine.step()
    assert (engine.scheduler.num_running, engine.scheduler.num_waiting) == (2, 3)
    assert max(len(step.sequences) for step in engine.run()) == 2


def test_no_more_run_than_the_budget_has_tokens() -> None:
    engine = FakeEngine(budget=3, max_num_seqs=16)
    for _ in range(6):
        engine.add(1, max_tokens=8)
    steps = engine.run()
    assert max(step.num_tokens for step in steps) == 3


def test_choices_take_a_seat_each_before_they_exist() -> None:
    engine = FakeEngine(max_num_seqs=4)
    engine.add(3, n=3)
    engine.add(3, n=2)
    engine.add(3)
    engine.step()
    # The second request needs two seats, of which the third one takes the only one.
    assert engine.scheduler.num_running == 4
    assert engine.scheduler.num_waiting == 1
    engine.run()
    assert len(engine.finished) == 6


def test_choices_that_were_preempted_keep_their_order() -> None:
    engine = FakeEngine(num_blocks=5, max_num_seqs=4)
    engine.add(6, max_tokens=8, n=4)
    engine.run()
    assert engine.stats.preemptions > 0
    assert [s.index for s in engine.finished] == [0, 1, 2, 3]


def test_without_split_fuse_whole_prompts_run_in_steps_of_their_own() -> None:
    engine = FakeEngine(budget=16, split_fuse=False)
    first = engine.add(6, max_tokens=3)
    second = engine.add(9, max_tokens=3)
    third = engine.add(10, max_tokens=2)
    steps = [parts(step, [first, second, third]) for step in engine.run()]
    assert steps == [[6, 9, 0], [0, 0, 10], [1, 1, 1], [1, 1, 0]]


def test_without_split_fuse_a_preempted_sequence_may_outgrow_the_budget() -> None:
    engine = FakeEngine(num_blocks=6, budget=6, split_fuse=False)
    engine.add(6, max_tokens=14)
    engine.add(6, max_tokens=14)
    steps = engine.run()
    assert engine.stats.preemptions > 0
    assert all(s.num_tokens <= 6 or len(s.sequences) == 1 for s in steps)
    assert max(step.num_tokens for step in steps) > 6


def test_the_last_one_is_preempted_and_waits_first_in_line() -> None:
    engine = FakeEngine(num_blocks=6)
    first, second, third = (engine.add(7, max_tokens=12) for _ in range(3))
    while engine.stats.preemptions == 0:
        engine.step()
    assert third.status is SequenceStatus.WAITING
    assert third.block_table.size == third.num_computed_tokens == 0
    assert first.status is SequenceStatus.RUNNING
    engine.run()
    assert engine.finished == [first, second, third]


def test_a_preempted_sequence_makes_the_same_tokens() -> None:
    alone = FakeEngine()
    expected = alone.add(7, max_tokens=12)
    alone.run()
    engine = FakeEngine(num_blocks=6, caching=True)
    sequences = [engine.add(7, max_tokens=12) for _ in range(4)]
    engine.run()
    assert engine.stats.preemptions > 0
    for sequence in sequences:
        assert sequence.token_ids.view().tolist() == expected.token_ids.view().tolist()


def test_nothing_starts_that_would_soon_be_preempted() -> None:
    engine = FakeEngine(num_blocks=8, budget=8)
    engine.add(16, max_tokens=8)
    engine.step()
    engine.step()
    engine.add(18, max_tokens=1)
    engine.step()
    assert engine.scheduler.num_waiting == 1
    engine.run()
    assert engine.stats.preemptions == 0


def test_a_request_that_fills_the_whole_cache_runs() -> None:
    engine = FakeEngine(num_blocks=4, budget=5)
    engine.add(10, max_tokens=7)
    engine.add(16, max_tokens=1)
    engine.run()
    assert [s.num_tokens for s in engine.finished] == [17, 17]


def test_prefixes_are_looked_up_when_a_sequence_starts() -> None:
    engine = FakeEngine(budget=8, max_num_seqs=1, caching=True)
    first, second = engine.add(13, max_tokens=1), engine.add(13, max_tokens=1)
    steps = [parts(step, [first, second]) for step in engine.run()]
    assert steps == [[8, 0], [5, 0], [0, 1]]
    assert first.request.num_cached_tokens == 0
    assert second.request.num_cached_tokens == 12


def test_a_preempted_prompt_does_not_count_its_own_blocks_as_cached() -> None:
    engine = FakeEngine(num_blocks=5, budget=2, caching=True)
    engine.add(1, max_tokens=12)
    engine.step()
    second = make_sequence([9] * 12, max_tokens=1)
    engine.live.append(second)
    engine.scheduler.add(second)
    while engine.stats.preemptions == 0:
        engine.step()
    assert second.num_generated_tokens == 0
    steps = engine.run()
    assert sum(parts(step, [second])[0] for step in steps) < 12, "it reuses its own blocks"
    assert second.request.num_cached_tokens == 0


@pytest.mark.parametrize("state", ["waiting", "prompt", "decoding", "forked", "preempted"])
def test_aborted_in_any_state_it_leaves_nothing(state: str) -> None:
    engine = FakeEngine(num_blocks=6, budget=4, max_num_seqs=3, caching=True)
    other = engine.add(7, max_tokens=12)
    sequence = engine.add(7, max_tokens=12, n=3 if state == "forked" else 1)
    reached = {
        "waiting": lambda: True,
        "prompt": lambda: 0 < sequence.num_computed_tokens < 7,
        "decoding": lambda: sequence.num_generated_tokens == 2,
        "forked": lambda: sequence.num_generated_tokens == 1,
        "preempted": lambda: engine.stats.preemptions > 0,
    }[state]
    if state == "forked":
        engine.abort(other)
    for _ in range(200):
        if reached():
            break
        engine.step()
    assert reached()
    for member in [s for s in engine.live if s is not other]:
        engine.abort(member)
    check_blocks(engine.kv, engine.live)
    engine.run()
    assert engine.finished == ([] if state == "forked" else [other])


@pytest.mark.parametrize("split_fuse", [True, False])
@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_random_load_always_ends(seed: int, caching: bool, split_fuse: bool) -> None:
    rng = random.Random(seed)
    num_blocks, budget = rng.randint(3, 12), rng.randint(2, 24)
    engine = FakeEngine(
        num_blocks, budget, rng.randint(1, 8), split_fuse, caching, rng.choice([1, 3, 100])
    )
    limit = num_blocks * SIZE + 1
    max_choices = min(engine.max_num_seqs, budget)
    expected = aborted = 0
    for _ in range(1200):
        if rng.random() < 0.2:
            longest = limit - 1 if split_fuse else min(limit - 1, budget)
            size = rng.randint(1, longest)
            n = rng.choice([1, 1, rng.randint(1, max_choices)])
            engine.add_prompt(
                [rng.choice([7, 8]), *range(size - 1)],
                rng.randint(1, limit - size),
                n=n,
                priority=rng.choice([0, 0, 3, -1]),
                cache_salt=rng.choice([b"", b"a"]),
                prompt_logprobs=rng.choice([None, None, None, 0]),
            )
            expected += n
        if rng.random() < 0.05 and engine.live:
            victim = rng.choice(engine.live)
            aborted += 1 + victim.num_pending_forks
            engine.abort(victim)
        if engine.scheduler.has_work:
            step = engine.step()
            assert step.num_tokens <= budget or (not split_fuse and len(step.sequences) == 1)
    engine.run(100_000)
    assert len(engine.finished) + aborted == expected
    assert all(s.num_generated_tokens == s.request.max_tokens for s in engine.finished)


def test_under_overload_the_earliest_always_moves_on() -> None:
    engine = FakeEngine(num_blocks=5, budget=6)
    sequences = [engine.add(5, max_tokens=15) for _ in range(6)]
    engine.run()
    assert engine.finished == sequences, "first come, first served"
