"""Overdue: what has waited for too long, in time that the test sets."""

import random

import pytest
from support.engine_helpers import make_sequence

from server.engine.scheduling.overdue import MAX_STALE, Overdue
from server.engine.scheduling.patience import MAX_WAIT_S
from server.engine.sequence import Sequence


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def overdue(clock: Clock) -> Overdue:
    return Overdue(clock)


def test_all_choices_of_a_request_become_overdue_together(overdue: Overdue, clock: Clock) -> None:
    first = make_sequence([1])
    choices = [first, Sequence(first.request, 1, first.arrival)]
    for sequence in choices:
        overdue.add(sequence)
    clock.now_s += MAX_WAIT_S - 0.1
    assert overdue.update() == []
    assert not first.request.is_overdue
    clock.now_s += 0.1
    assert overdue.update() == choices
    assert first.request.is_overdue
    assert overdue.update() == []


def test_the_waits_of_a_request_add_up(overdue: Overdue, clock: Clock) -> None:
    sequence = make_sequence([1])
    for _ in range(3):
        overdue.add(sequence)
        clock.now_s += 0.3 * MAX_WAIT_S
        assert overdue.update() == []
        overdue.remove(sequence)
        # While it runs it does not wait.
        clock.now_s += MAX_WAIT_S
        assert overdue.update() == []
    overdue.add(sequence)
    clock.now_s += 0.11 * MAX_WAIT_S
    assert overdue.update() == [sequence]


@pytest.mark.parametrize("seed", range(4))
def test_random_waits_agree_with_adding_up_one_by_one(
    seed: int, overdue: Overdue, clock: Clock
) -> None:
    rng = random.Random(seed)
    waits: dict[Sequence, float] = {}
    waiting: list[Sequence] = []
    for _ in range(1500):
        clock.now_s += (passed := rng.random())
        for sequence in waiting:
            waits[sequence] += passed
        expected = {s for s in waiting if waits[s] >= MAX_WAIT_S and not s.request.is_overdue}
        assert set(overdue.update()) == expected
        if rng.random() < 0.5 or not waiting:
            resting = [s for s in waits if s not in waiting]
            sequence = rng.choice(resting) if resting and rng.random() < 0.5 else make_sequence([1])
            waits.setdefault(sequence, 0.0)
            waiting.append(sequence)
            overdue.add(sequence)
        else:
            overdue.remove(waiting.pop(rng.randrange(len(waiting))))
    assert any(sequence.request.is_overdue for sequence in waits)


def test_what_waits_no_longer_is_forgotten(overdue: Overdue) -> None:
    for _ in range(10 * MAX_STALE):
        sequence = make_sequence([1])
        overdue.add(sequence)
        overdue.remove(sequence)
    assert len(overdue._heap) <= MAX_STALE + 1
