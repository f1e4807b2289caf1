"""A request of many sequences does not push aside requests of one."""

import random

import pytest
from support.engine_helpers import make_sequence
from support.fake_engine import FakeEngine, parts

from server.engine.scheduling.admission import MAX_SET_ASIDE
from server.engine.scheduling.fair_decoding import choose_decoding
from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import Sequence, SequenceStatus


def make_costs(start_s: float = 0.0) -> StepCosts:
    """A millisecond for each token, and what each step costs at least."""
    costs = StepCosts()
    for size in range(1, 400):
        costs.observe(size, 0, start_s + size / 1000)
    return costs


def make_choices(n: int, num_tokens: int = 3) -> list[Sequence]:
    first = make_sequence(range(num_tokens), n=n)
    return [first, *(Sequence(first.request, index) for index in range(1, n))]


def test_the_surplus_of_a_large_request_takes_half_of_the_time_of_the_others() -> None:
    singles = [make_sequence(range(3)) for _ in range(9)]
    many = make_choices(100)
    chosen = choose_decoding([*many, *singles], make_costs())
    # One of each request takes 10 ms, so that five more are possible.
    assert chosen == [*many[:6], *singles]


def test_where_more_sequences_cost_little_more_decode() -> None:
    chosen = choose_decoding([*make_choices(100), make_sequence(range(3))], make_costs(0.1))
    assert len(chosen) == 53


@pytest.mark.parametrize("sizes", [[1, 1, 1], [50, 50], [128]])
def test_where_all_requests_are_equal_all_decode(sizes: list[int]) -> None:
    decoding = [sequence for size in sizes for sequence in make_choices(size)]
    assert choose_decoding(decoding, make_costs()) == decoding


def test_without_known_costs_all_decode() -> None:
    decoding = [*make_choices(9), make_sequence(range(3))]
    assert choose_decoding(decoding, StepCosts()) == decoding


def test_two_large_requests_share_the_surplus() -> None:
    first, second = make_choices(40), make_choices(60)
    singles = [make_sequence(range(3)) for _ in range(20)]
    chosen = choose_decoding([*first, *second, *singles], make_costs())
    counts = [sum(s in chosen for s in choices) for choices in (first, second, singles)]
    assert counts in ([6, 7, 20], [7, 6, 20])


def test_all_choices_advance_together() -> None:
    target = LatencyTarget(make_costs(), 0.0)
    engine = FakeEngine(num_blocks=900, budget=64, max_num_seqs=64, target=target)
    many = engine.add(3, max_tokens=40, n=40)
    single = engine.add(4, max_tokens=400)
    while not single.num_generated_tokens or len(engine.live) < 41:
        engine.step()
    start = single.num_generated_tokens
    choices = [s for s in engine.live if s.request is many.request]
    sizes = []
    for _ in range(80):
        step = engine.step()
        assert single in step.sequences
        sizes.append(len(step.sequences))
        generated = [s.num_generated_tokens for s in choices]
        assert max(generated) - min(generated) <= 1
    assert single.num_generated_tokens == start + 80
    assert max(sizes) == 3
    engine.run()
    assert len(engine.finished) == 41


def test_requests_of_several_sequences_leave_seats_to_others() -> None:
    engine = FakeEngine(num_blocks=900, budget=64, max_num_seqs=16)
    large = [engine.add(3, max_tokens=30, n=8) for _ in range(3)]
    engine.step()
    assert [s.status for s in large[1:]] == [SequenceStatus.WAITING] * 2
    single = engine.add(30, max_tokens=2)
    engine.step()
    assert single.status is SequenceStatus.RUNNING
    engine.run()
    assert len(engine.finished) == 25


def test_one_request_may_have_all_seats_where_no_other_has_several() -> None:
    engine = FakeEngine(num_blocks=900, budget=64, max_num_seqs=16)
    engine.add(3, max_tokens=5, n=16)
    engine.step()
    assert engine.scheduler.num_running == 16
    engine.run()


def test_a_request_that_waits_for_seats_can_be_aborted() -> None:
    engine = FakeEngine(num_blocks=900, budget=64, max_num_seqs=16)
    engine.add(3, max_tokens=30, n=8)
    gone, later = engine.add(3, n=8), engine.add(3, n=6)
    engine.step()
    engine.abort(gone)
    engine.run()
    assert later.status is SequenceStatus.FINISHED


def test_few_prompts_without_room_for_log_probabilities_are_passed_over_in_a_step() -> None:
    engine = FakeEngine(num_blocks=900, budget=64, max_num_seqs=16, max_num_prompt_rows=2)
    waiting = [engine.add(3, prompt_logprobs=0) for _ in range(MAX_SET_ASIDE + 5)]
    last = engine.add(4)
    assert parts(engine.step(), [waiting[0], last]) == [2, 0]
    engine.run()
    assert last.status is SequenceStatus.FINISHED


@pytest.mark.parametrize("seed", range(8))
def test_random_load_gives_the_same_tokens_whatever_steps_cost(seed: int) -> None:
    """With few blocks, so that choices are preempted while others of their request go on."""

    def run(costs: StepCosts) -> list[list[int]]:
        rng = random.Random(seed)
        target = LatencyTarget(costs, 0.02)
        engine = FakeEngine(rng.randint(12, 20), 24, 16, caching=True, target=target)
        while len(engine.added) < 25 or engine.scheduler.has_work:
            if len(engine.added) < 25 and rng.random() < 0.5:
                n = rng.choice([1, 1, 1, 2, 5, 10])
                engine.add(rng.randint(1, 30), max_tokens=rng.randint(1, 12), n=n)
            elif engine.scheduler.has_work:
                engine.step()
        assert engine.kv.num_used_blocks == 0
        preempted.append(engine.stats.preemptions)
        return sorted(s.token_ids.view().tolist() for s in engine.finished)

    preempted: list[int] = []
    assert run(make_costs()) == run(StepCosts())
    assert max(preempted) > 0
