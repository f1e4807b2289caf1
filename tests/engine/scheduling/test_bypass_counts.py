"""BypassCounts: counts each start of a later request once for each waiting request."""

import random

import pytest
from support.engine_helpers import make_sequence

from server.engine.scheduling.bypass_counts import MAX_BYPASSES, BypassCounts, is_overdue
from server.engine.sequence import Sequence


def test_all_choices_of_a_request_become_overdue_together() -> None:
    counts = BypassCounts()
    first = make_sequence([1])
    choices = [first, Sequence(first.request, 1, first.arrival)]
    for sequence in choices:
        counts.add(sequence)
    overdue = [counts.count_start(make_sequence([1])) for _ in range(MAX_BYPASSES + 1)]
    assert overdue == [[]] * (MAX_BYPASSES - 1) + [choices, []]
    assert all(map(is_overdue, choices))
    for sequence in choices:
        counts.remove(sequence)
    assert first.request.num_bypasses == MAX_BYPASSES + 1


@pytest.mark.parametrize("seed", range(4))
def test_random_starts_agree_with_counting_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    counts = BypassCounts()
    waiting: dict[Sequence, int] = {}
    started: list[Sequence] = []
    for _ in range(1000):
        if rng.random() < 0.5 or not waiting:
            # What was preempted waits again, with the count that it had.
            preempted = bool(started) and rng.random() < 0.3
            sequence = started.pop() if preempted else make_sequence([1])
            counts.add(sequence)
            waiting[sequence] = sequence.request.num_bypasses
            continue
        sequence = rng.choice(list(waiting)[-10:])
        counts.remove(sequence)
        assert sequence.request.num_bypasses == waiting.pop(sequence)
        bypassed = [other for other in waiting if other.arrival < sequence.arrival]
        for other in bypassed:
            waiting[other] += 1
        overdue = {other for other in bypassed if waiting[other] == MAX_BYPASSES}
        assert set(counts.count_start(sequence)) == overdue
        started.append(sequence)
