"""LatencyTarget, alone and in the scheduler, with invented costs."""

import random

import pytest
from support.fake_engine import FakeEngine, parts

from server.engine.scheduling.latency_target import (
    LONG_PROMPT,
    MAX_STRETCH,
    MAX_TARGET_S,
    MIN_CHUNK,
    MIN_TARGET_S,
    MULTIPLE_OF_DECODING,
    WEIGHT_OF_LONG_PROMPT,
    LatencyTarget,
)
from server.engine.scheduling.patience import PATIENCE
from server.engine.scheduling.step_costs import StepCosts, context_work


def make_costs(padding: int = 1, per_work: float = 0.0) -> StepCosts:
    """A millisecond for each token, and more for work on the past."""
    costs = StepCosts(lambda n: -(-n // padding) * padding)
    for size in (padding, 32, 1024):
        costs.observe(size, 0, size / 1000)
    if per_work:
        work = context_work(8192, 1024)
        for _ in range(9):
            costs.observe(1024, work, 1.024 + per_work * work)
    return costs


def make_target(target_s: float = 0.1, padding: int = 1, per_work: float = 0.0) -> LatencyTarget:
    return LatencyTarget(make_costs(padding, per_work), target_s)


def test_a_step_that_decodes_stays_under_the_target() -> None:
    target = make_target()
    target.begin(10, 0)
    assert target.room(10, 0, 0, 500) == 90
    assert target.room(10, 0, 0, 20) == 20
    assert target.room(60, 0, 0, 500) == 40
    assert target.room(100, 0, 0, 500) == 0


def test_a_step_is_filled_up_to_its_padded_size() -> None:
    target = make_target(0.100, padding=32)
    target.begin(10, 0)
    assert target.room(10, 0, 0, 500) == 86


def test_a_chunk_with_a_long_past_is_shorter() -> None:
    target = make_target(0.1, per_work=1e-6)
    target.begin(10, 0)
    rooms = [target.room(10, 0, num_past, 500) for num_past in (0, 10_000, 30_000)]
    assert rooms == sorted(rooms, reverse=True)
    assert 90 == rooms[0] > rooms[1] > rooms[2] >= MIN_CHUNK
    # The work that is in the step already counts too.
    assert target.room(10, 20_000, 0, 500) < 90


@pytest.mark.parametrize(("num_decoding", "target_s"), [(0, 0.1), (10, 0.0)])
def test_where_nothing_decodes_there_is_no_limit(num_decoding: int, target_s: float) -> None:
    target = make_target(target_s)
    target.begin(num_decoding, 0)
    assert target.room(num_decoding, 0, 0, 500) == 500


def test_a_chunk_that_needs_rows_of_the_output_head_is_shorter() -> None:
    costs = make_costs()
    for _ in range(9):
        costs.observe(1024, 0, 1.024 + 1024 * 0.002, 1024)
    target = LatencyTarget(costs, 0.1)
    target.begin(10, 0)
    assert target.room(10, 0, 0, 500) == 90
    # Each token costs three milliseconds instead of one.
    assert target.room(10, 0, 0, 500, adds_rows=True) == MIN_CHUNK
    assert LatencyTarget(costs, 0.3).room(10, 0, 0, 500, adds_rows=True) == 500
    target = LatencyTarget(costs, 0.3105)
    target.begin(10, 0)
    assert target.room(10, 0, 0, 500, adds_rows=True) == 100
    # Rows of other prompts in the step count, too.
    assert target.room(10, 0, 0, 500, 50) == 200


def test_some_of_a_prompt_is_read_in_every_step() -> None:
    target = make_target(0.001)
    target.begin(10, 0)
    assert target.room(10, 0, 10**6, 500) == MIN_CHUNK
    assert target.room(10 + MIN_CHUNK - 5, 0, 10**6, 500) == 5
    assert target.room(10 + MIN_CHUNK, 0, 10**6, 500) == 0
    assert target.room(10, 0, 0, 3) == 3


def test_prompts_may_take_half_as_long_as_decoding_does() -> None:
    target = make_target(0.1)
    target.begin(200, 0)
    assert target.room(200, 0, 0, 500) == 100


def test_without_known_costs_nothing_is_limited() -> None:
    target = LatencyTarget(StepCosts(), 0.1)
    target.begin(10, 0)
    assert target.room(10, 0, 5000, 500) == 500


@pytest.mark.parametrize(
    ("of_one_s", "target_s"),
    [(0.001, MIN_TARGET_S), (0.02, MULTIPLE_OF_DECODING * 0.02), (0.2, MAX_TARGET_S)],
)
def test_the_target_follows_from_what_decoding_costs(of_one_s: float, target_s: float) -> None:
    costs = StepCosts()
    costs.observe(1, 0, of_one_s)
    assert LatencyTarget(costs, None).target_s == pytest.approx(target_s)
    assert LatencyTarget(costs, 0.07).target_s == 0.07
    assert LatencyTarget(costs, 0.0).target_s == 0


def test_prompts_that_are_due_lengthen_a_target_that_nobody_gave() -> None:
    target = LatencyTarget(make_costs(), None)
    target.begin(10, 0)
    rooms = [target.room(10, 0, 0, 500, lateness=of_due * PATIENCE) for of_due in (0, 0.5, 1, 9)]
    least_ms = round(1000 * MIN_TARGET_S)
    assert rooms == [least_ms * stretch - 10 for stretch in (1, MAX_STRETCH // 2, 4, MAX_STRETCH)]
    given = make_target(0.1)
    given.begin(10, 0)
    assert given.room(10, 0, 0, 500, lateness=PATIENCE) == 90


def test_a_long_prompt_pauses_until_answers_have_had_their_part() -> None:
    target = make_target(0.1)
    target.begin(10, 0)
    assert not target.is_in_debt
    assert target.is_long(0.1 * LONG_PROMPT + 0.01)
    assert not target.is_long(0.1 * LONG_PROMPT - 0.01)
    target.end(100, 0, 0)
    num_pauses = 0
    while True:
        target.begin(10, 0)
        if not target.is_in_debt:
            break
        target.end(10, 0, 0)
        num_pauses += 1
    # The chunk took 90 ms. In each step ten answers take 10 ms, of which eight count.
    assert num_pauses == -(-90 // WEIGHT_OF_LONG_PROMPT) - 1
    target.begin(10, 0)
    target.end(1000, 0, 0)
    target.begin(0, 0)
    assert not target.is_in_debt, "where nothing decodes"
    target.end(100, 0, 0)
    target.begin(10, 0)
    assert not target.is_in_debt, "after a step that did not decode"


def test_a_long_prompt_shares_the_time_with_answers_until_it_is_late() -> None:
    engine = FakeEngine(num_blocks=1000, budget=256, target=make_target(0.05), step_s=0.01)
    talking = [engine.add(3, max_tokens=400) for _ in range(8)]
    engine.step()
    long = engine.add(2000, max_tokens=1)
    chunks = [parts(engine.step(), [long])[0] for _ in range(198)]
    # 50 ms less 8 for the answers; each step pays for 8 ms of the 42.
    assert chunks == ([42] + [0] * 5) * 33
    while engine.now_s < 2.05:
        engine.step()
    # It has waited for as long as reading it takes alone.
    assert [parts(engine.step(), [long])[0] for _ in range(6)] == [42] * 6
    assert len({sequence.num_generated_tokens for sequence in talking}) == 1, "all go on"
    engine.run()


def test_short_prompts_are_read_while_a_long_one_pauses() -> None:
    engine = FakeEngine(num_blocks=1000, budget=256, target=make_target(0.05), step_s=0.01)
    engine.add(3, max_tokens=400)
    engine.step()
    # The first one starts; of another client, it would go first again and again.
    long = [engine.add(1200, max_tokens=1, client=name) for name in "ab"]
    engine.step()
    assert sum(s.num_computed_tokens > 0 for s in long) == 1
    short = [engine.add(10, max_tokens=1, client=name) for name in "ab"]
    engine.step()
    assert all(s.num_generated_tokens == 1 for s in short)
    engine.run()


def test_a_long_prompt_is_read_in_chunks_that_keep_to_the_target() -> None:
    engine = FakeEngine(num_blocks=1000, budget=256, target=make_target(0.05))
    talking = engine.add(3, max_tokens=200)
    assert parts(engine.step(), [talking]) == [3]
    long = engine.add(300, max_tokens=1)
    steps = [parts(engine.step(), [talking, long]) for _ in range(7)]
    assert steps == [[1, 49]] * 6 + [[1, 6]]
    engine.run()


def test_where_nothing_decodes_a_long_prompt_is_read_in_large_chunks() -> None:
    engine = FakeEngine(num_blocks=1000, budget=256, target=make_target(0.05))
    long = engine.add(300, max_tokens=1)
    assert [parts(step, [long]) for step in engine.run()] == [[256], [44]]


@pytest.mark.parametrize("seed", range(6))
def test_random_load_ends_and_keeps_to_the_target(seed: int) -> None:
    rng = random.Random(seed)
    costs = make_costs(padding=rng.choice([1, 8]), per_work=rng.choice([0.0, 1e-4]))
    target_s = rng.choice([0.001, 0.02, 0.1])
    budget = rng.choice([8, 64, 200])
    engine = FakeEngine(
        rng.randint(20, 60), budget, 16, caching=True, target=LatencyTarget(costs, target_s)
    )
    for _ in range(400):
        if rng.random() < 0.3:
            size = rng.choice([1, 5, 40, 75])
            engine.add(size, rng.randint(1, 5), n=rng.choice([1, 2]), priority=rng.choice([0, 1]))
        if not engine.scheduler.has_work:
            continue
        step = engine.scheduler.schedule()
        num_decoding = sum(s.num_uncomputed_tokens == 1 for s in step.sequences)
        decoding = [s for s in step.sequences if s.num_uncomputed_tokens == 1]
        alone = costs.predict(
            num_decoding, sum(context_work(s.num_computed_tokens, 1) for s in decoding)
        )
        if decoding and step.num_tokens > num_decoding + MIN_CHUNK:
            assert costs.predict(step.num_tokens, step.context) <= max(target_s, 1.5 * alone)
        engine.compute(step)
    engine.run()
