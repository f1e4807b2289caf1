"""StepCosts: how samples make the curve, and what it predicts between and beyond them."""

import random

import pytest

from server.engine.scheduling.step_costs import MIN_CONTEXT, MIN_ROWS, StepCosts, context_work


def learn(costs: StepCosts, *seen: tuple[int, float, float]) -> StepCosts:
    for num_tokens, context, seconds in seen:
        costs.observe(num_tokens, context, seconds)
    return costs


def test_without_samples_it_predicts_0() -> None:
    assert StepCosts().predict(100, 10_000) == 0


def test_between_samples_the_curve_is_linear() -> None:
    costs = learn(StepCosts(), (10, 0, 1.0), (20, 0, 1.8))
    assert [costs.predict(n, 0) for n in (5, 10, 12, 20)] == pytest.approx([1.0, 1.0, 1.16, 1.8])


def test_beyond_the_last_sample_it_is_proportional() -> None:
    assert learn(StepCosts(), (10, 0, 1.0)).predict(30, 0) == pytest.approx(3.0)


def test_a_padded_step_costs_what_its_size_costs() -> None:
    costs = learn(StepCosts(lambda n: -(-n // 32) * 32), (20, 0, 1.0), (40, 0, 2.0))
    assert [costs.predict(n, 0) for n in (1, 32, 33, 64)] == [1.0, 1.0, 2.0, 2.0]


def test_a_single_slow_step_is_ignored() -> None:
    costs = learn(StepCosts(), *[(10, 0, 1.0)] * 3, (10, 0, 90.0), (10, 0, 1.1))
    assert costs.predict(10, 0) == 1.0


def test_a_first_step_that_took_long_is_corrected_by_larger_ones() -> None:
    costs = learn(StepCosts(), (10, 0, 9.0), (20, 0, 2.0))
    assert costs.predict(10, 0) == 2.0


def test_a_size_that_was_slow_once_is_not_avoided_for_ever() -> None:
    loaded_on_a_busy_machine = [(32, 0, 0.05), (64, 0, 0.07), (128, 0, 0.25), (256, 0, 0.6)]
    costs = learn(StepCosts(), *loaded_on_a_busy_machine, *[(96, 0, 0.06)] * 3)
    assert costs.predict(128, 0) == pytest.approx(0.08)
    assert costs.predict(256, 0) == pytest.approx(0.16)
    assert costs.predict(512, 0) == pytest.approx(0.32)


def test_steps_that_mostly_work_on_the_past_do_not_make_others_cheap() -> None:
    work = context_work(100_000, 1)
    costs = learn(StepCosts(), (16, 0, 0.04), (256, 0, 0.14), *[(16, work, 1.0)] * 9)
    learn(costs, *[(16, work, 0.9)] * 9)
    assert costs.predict(16, 0) == 0.04
    assert costs.predict(256, 0) == 0.14


def test_it_follows_a_machine_that_became_slower() -> None:
    costs = learn(StepCosts(), *[(10, 0, 1.0)] * 100, *[(10, 0, 2.0)] * 9)
    assert costs.predict(10, 0) == 2.0


def test_the_cost_of_past_tokens_is_learnt_separately() -> None:
    work = context_work(8192, 64)
    costs = learn(StepCosts(), *[(64, 0, 0.1)] * 9, *[(64, work, 0.3)] * 9)
    assert costs.predict(64, work) == pytest.approx(0.3)
    assert costs.predict(64, 0) == pytest.approx(0.1)
    assert costs.predict(64, work / 2) == pytest.approx(0.2)


def test_little_work_on_the_past_is_no_evidence() -> None:
    costs = learn(StepCosts(), (64, 0, 0.1), (64, MIN_CONTEXT - 1, 5.0))
    assert costs.predict(1, 10**6) - costs.predict(1, 0) == 0


@pytest.mark.parametrize("seed", range(5))
def test_predictions_never_fall_with_tokens_or_context(seed: int) -> None:
    rng = random.Random(seed)
    costs = StepCosts()
    for _ in range(200):
        seconds = rng.choice([0.0, rng.random(), 100 * rng.random()])
        costs.observe(rng.randint(1, 300), rng.choice([0, rng.randint(0, 10**6)]), seconds)
        over_tokens = [costs.predict(n, 5000) for n in range(1, 400, 7)]
        assert over_tokens == sorted(over_tokens)
        over_context = [costs.predict(50, c) for c in range(0, 10**6, 10**5)]
        assert over_context == sorted(over_context)


def test_rows_for_log_probabilities_of_prompts_cost_extra() -> None:
    costs = learn(StepCosts(), (64, 0, 0.1), (256, 0, 0.2))
    for _ in range(9):
        costs.observe(256, 0, 0.7, 250)
    assert costs.predict(256, 0, 250) == pytest.approx(0.7)
    assert costs.predict(256, 0) == pytest.approx(0.2)
    assert costs.predict(64, 0, 50) == pytest.approx(0.2)


def test_a_few_rows_are_no_evidence_for_the_cost_of_a_row() -> None:
    costs = learn(StepCosts(), (64, 0, 0.1))
    costs.observe(64, 0, 5.0, MIN_ROWS - 1)
    assert costs.predict(64, 0, 64) == costs.predict(64, 0)
