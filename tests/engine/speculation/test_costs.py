"""What proposals are believed to cost: few slow measurements do not count for long."""

import pytest

from server.engine.speculation.proposal_costs import NUM_COLD, ProposalCosts
from server.engine.speculation.samples import Samples


def filled(values: list[float]) -> Samples:
    samples = Samples()
    for value in values:
        samples.add(value, 0, 10)
    return samples


def test_one_measurement_is_none_and_one_slow_one_of_two_does_not_count() -> None:
    assert filled([5.0]).middle(0, 10) is None
    assert filled([5.0, 1.0]).middle(0, 10) == 1.0
    assert filled([1.0, 5.0, 2.0]).middle(0, 10) == 2.0


@pytest.mark.parametrize(("num", "patience"), [(2, 10), (3, 20), (4, 40)])
def test_the_more_there_are_the_longer_they_are_believed(num: int, patience: int) -> None:
    samples = filled([5.0] * num)
    assert samples.middle(patience, 10) == 5.0
    assert samples.middle(patience + 1, 10) is None


def test_after_a_while_a_better_one_replaces_them_and_a_slow_one_confirms_them() -> None:
    samples = filled([5.0, 5.0])
    samples.add(6.0, 11, 10)
    assert samples.middle(31, 10) == 5.0
    samples.add(1.0, 32, 10)
    assert samples.any_middle == 1.0


def test_a_proposal_costs_what_it_took_with_all_host_work() -> None:
    now = 0.0
    costs = ProposalCosts(lambda size: 0.1, clock=lambda: now)
    assert costs.seconds(1, 4) == pytest.approx(0.4)
    for _ in range(NUM_COLD):
        costs.observe(1, 7.0, 7.0)
    assert costs.seconds(1, 4) == pytest.approx(0.4)
    for _ in range(2):
        costs.observe(1, 0.5, 0.2)
    assert costs.seconds(1, 4) == pytest.approx(1.1)
    # Nothing is known of other numbers of sequences, and nothing for ever.
    assert costs.seconds(2, 4) == pytest.approx(0.4)
    now = 1000.0
    assert costs.seconds(1, 4) == pytest.approx(0.4)
