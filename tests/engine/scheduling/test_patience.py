"""Patience: when prompts are due, and how late they are."""

from math import inf

import pytest
from support.engine_helpers import make_sequence

from server.engine.scheduling.patience import MAX_WAIT_S, NOMINAL_TOKEN_S, PATIENCE, Patience
from server.engine.scheduling.step_costs import StepCosts, context_work


class Costs(StepCosts):
    """A millisecond for each token, and as much for a thousand units of work on the past."""

    def predict(self, num_tokens: int, context: float, num_prompt_rows: int = 0) -> float:
        return 0.001 * num_tokens + 1e-6 * context


def test_reading_takes_as_long_as_its_chunks() -> None:
    patience = Patience(Costs(), 100)
    assert patience.reading_s(0, 40) == pytest.approx(0.04)
    assert patience.reading_s(500, 40) == pytest.approx(0.04 + 1e-6 * context_work(500, 40))
    chunks_s = sum(0.1 + 1e-6 * context_work(num_past, 100) for num_past in range(50, 1050, 100))
    assert patience.reading_s(50, 1000) == pytest.approx(chunks_s)


def test_without_known_costs_a_token_takes_a_nominal_time() -> None:
    assert Patience(StepCosts(), 100).reading_s(70, 1000) == pytest.approx(1000 * NOMINAL_TOKEN_S)


def test_a_prompt_is_due_after_a_multiple_of_its_reading_within_a_bound() -> None:
    patience = Patience(Costs(), 10**9)
    sequence = make_sequence(range(1000))
    sequence.request.arrived_s = 7.0
    assert patience.due_s(sequence, 100) == pytest.approx(
        7 + PATIENCE * (0.1 + 1e-6 * context_work(900, 100))
    )
    assert patience.due_s(make_sequence([1]), 1) < patience.due_s(make_sequence([1] * 9), 9)
    sequence = make_sequence(range(100_000))
    sequence.request.arrived_s = 7.0
    assert patience.due_s(sequence, 100_000) == 7 + MAX_WAIT_S


def test_how_late_a_prompt_is_counts_what_is_cached_as_read() -> None:
    patience = Patience(Costs(), 1000, lambda: 20.0)
    sequence = make_sequence(range(1000))
    sequence.request.arrived_s = 19.5
    assert patience.lateness(sequence, 0) == pytest.approx(0.5)
    cached = 0.5 / (0.1 + 1e-6 * context_work(900, 100))
    assert patience.lateness(sequence, 900) == pytest.approx(cached)
    # What was cached is known from the start on; what was computed since then was read.
    sequence.has_started = True
    assert patience.lateness(sequence, 900) == pytest.approx(0.5)
    sequence.request.num_cached_tokens = 900
    assert patience.lateness(sequence, 950) == pytest.approx(cached)
    sequence.append(1)
    assert patience.lateness(sequence, 0) == inf
