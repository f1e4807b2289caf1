"""DraftPlanner: drafts are taken where they pay, by chances and by what steps take."""

from collections.abc import Callable

import pytest
from support.engine_helpers import make_sequence
from support.forced_drafts import ForcedProposer

from server.engine.model.step_sizes import StepSizes
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import Sequence
from server.engine.speculation.draft_planner import MAX_DRAFTS, MAX_PAUSE, DraftPlanner
from server.engine.speculation.measured_steps import FRESH, MeasuredSteps
from server.engine.speculation.speculation import Speculation
from server.host.metrics import EngineStats

MAX_TOKENS = 256


class Chances(ForcedProposer):
    """Has the same chance for every draft, or that which a test has stated for a sequence."""

    def __init__(self, chance: float) -> None:
        super().__init__(lambda _: [])
        self.chance = chance
        self.own: dict[Sequence, float] = {}
        self.num_looks = 0

    def chances(self, sequence: Sequence, most: int) -> list[float]:
        self.num_looks += 1
        return [self.own.get(sequence, self.chance)] * most


def measured(seconds: Callable[[int], float]) -> MeasuredSteps:
    """Steps that take so long by their number of tokens."""
    sizes = StepSizes(MAX_TOKENS)
    costs = StepCosts(sizes.padded)
    for size in sizes.sizes:
        costs.observe(size, 0.0, seconds(size))
    steps = MeasuredSteps(costs)
    for size in sizes.sizes[1:]:
        for _ in range(2):
            steps.observe(size - 1, size, seconds(size), seconds(size))
    return steps


def free(size: int) -> float:
    """Reading the weights takes all the time."""
    return 0.030 + 1e-5 * size


def proportional(size: int) -> float:
    """Products take all the time."""
    return 0.001 * size


def planner_of(
    seconds: Callable[[int], float], chance: float, long_after: int | None = None
) -> tuple[DraftPlanner, Chances]:
    proposer = Chances(chance)
    return DraftPlanner(proposer, measured(seconds), MAX_TOKENS, long_after), proposer


def decoding(num: int = 1, max_tokens: int = 100, **params: object) -> list[Sequence]:
    """Sequences that have their first token."""
    sequences = [make_sequence([5, 6, 7], max_tokens, **params) for _ in range(num)]
    for sequence in sequences:
        sequence.num_computed_tokens = 3
        sequence.append(8)
    return sequences


def test_nothing_is_planned_before_anything_was_measured() -> None:
    planner = DraftPlanner(Chances(1.0), MeasuredSteps(StepCosts()), MAX_TOKENS, None)
    assert planner.plan(decoding()) == {}


def test_free_rows_are_used_and_dear_ones_are_not() -> None:
    (sequence,) = decoding()
    planner, _ = planner_of(free, 0.9)
    assert planner.plan([sequence])[sequence] > 8
    planner, proposer = planner_of(proportional, 0.9)
    assert planner.plan([sequence]) == {}
    # It is clear without looking.
    assert proposer.num_looks == 0


@pytest.mark.parametrize("chance", [0.0, 0.02])
def test_unlikely_drafts_are_not_taken(chance: float) -> None:
    planner, _ = planner_of(free, chance)
    assert planner.plan(decoding()) == {}


def test_more_drafts_are_taken_the_likelier_they_are() -> None:
    (sequence,) = decoding()
    counts = [
        planner_of(lambda size: 0.030 + 0.001 * size, chance)[0].plan([sequence])[sequence]
        for chance in (0.3, 0.6, 0.9)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_one_sequence_does_not_slow_down_many() -> None:
    """A step of one more token takes a tenth longer: too much for 20, cheap for one."""
    sequences = decoding(20, num_assistant_tokens=3)

    def seconds(size: int) -> float:
        return 0.030 if size <= 20 else 0.033

    planner, proposer = planner_of(seconds, 0.0)
    proposer.own[sequences[3]] = 0.95
    assert planner.plan(sequences) == {}
    proposer.chance = 0.95
    planner, proposer = planner_of(seconds, 0.95)
    assert len(planner.plan(sequences)) == 20


def test_requests_may_say_how_many() -> None:
    planner, _ = planner_of(free, 0.95)
    for wanted, most in ((0, 0), (3, 3), (None, MAX_DRAFTS), (500, MAX_DRAFTS)):
        (sequence,) = decoding(num_assistant_tokens=wanted)
        assert planner.plan([sequence]).get(sequence, 0) <= most
        assert planner._most_drafts(sequence) == most


def test_no_draft_is_after_the_last_token() -> None:
    planner, _ = planner_of(free, 0.95)
    for max_tokens, most in ((2, 0), (3, 1), (9, 7)):
        (sequence,) = decoding(max_tokens=max_tokens)
        assert planner.plan([sequence]).get(sequence, 0) == most


def test_no_draft_is_beyond_the_switch_to_other_rope_factors() -> None:
    planner, _ = planner_of(free, 0.95, long_after=9)
    (sequence,) = decoding()
    assert planner.plan([sequence]) == {sequence: 5}
    sequence.uses_long_rope = True
    assert planner.plan([sequence])[sequence] > 5


def test_a_step_stays_within_its_budget() -> None:
    planner = DraftPlanner(Chances(0.95), measured(free), 40, None)
    assert sum(planner.plan(decoding(33)).values()) <= 7


def test_chances_are_corrected_by_what_is_accepted() -> None:
    (sequence,) = decoding()
    planner, _ = planner_of(lambda size: 0.030 + 0.001 * size, 0.9)
    counts = []
    for _ in range(40):
        counts.append(planner.plan([sequence]).get(sequence, 0))
        planner.note_verified(0)
    assert counts[0] > 8
    assert 0 in counts
    # Later they are tried again.
    assert max(planner.plan([sequence]).get(sequence, 0) for _ in range(500)) > 0


def test_a_size_that_is_slow_is_left_out() -> None:
    """Nothing but steps of its own tells that one of 16 tokens and more takes ten times as long."""
    (sequence,) = decoding()
    steps = measured(free)
    planner = DraftPlanner(Chances(0.95), steps, MAX_TOKENS, None)
    assert planner.plan([sequence])[sequence] >= 15
    for size in range(16, 33):
        for _ in range(2):
            steps.observe(1, size, free(size), 10 * free(size))
    assert planner.plan([sequence])[sequence] == 14
    for _ in range(FRESH + 1):
        steps.observe(2, 2, free(2), free(2))
    assert planner.plan([sequence])[sequence] >= 15


def test_steps_with_drafts_are_tried_once() -> None:
    """What the curve says of a size may be the first step of that size, which is slow."""
    (sequence,) = decoding()
    costs = StepCosts(StepSizes(MAX_TOKENS).padded)
    for size in StepSizes(MAX_TOKENS).sizes:
        costs.observe(size, 0.0, proportional(size))
    planner = DraftPlanner(Chances(0.9), MeasuredSteps(costs), MAX_TOKENS, None)
    assert planner.plan([sequence])[sequence] > 8


def test_looking_in_vain_becomes_rare() -> None:
    sequences = decoding(8)
    for sequence in sequences:
        sequence.append(9)
    planner, proposer = planner_of(free, 0.0)
    for _ in range(1000):
        assert planner.plan(sequences) == {}
    assert 8 * 1000 // MAX_PAUSE <= proposer.num_looks < 8 * 100
    # A new answer is looked at once.
    num_looks = proposer.num_looks
    planner.plan(decoding())
    assert proposer.num_looks == num_looks + 1
    # One sequence is looked at so quickly that this is done in nearly every step.
    planner, proposer = planner_of(free, 0.0)
    for _ in range(4):
        planner.plan(sequences[:1])
    assert proposer.num_looks == 4


def test_drafts_without_room_are_not_expected_to_be_accepted() -> None:
    (sequence,) = decoding()
    planner, _ = planner_of(free, 0.9)
    planned = planner.plan([sequence])[sequence]
    for _ in range(100):
        planner.note_scheduled(1)
        planner.note_verified(1)
        assert planner.plan([sequence]) == {sequence: planned}


def test_sequences_that_get_no_drafts_yet_do_not_count_against_those_that_do() -> None:
    writer, reader = decoding(2)
    planner, proposer = planner_of(free, 0.9)
    proposer.guess = lambda sequence: [8] * MAX_DRAFTS if sequence is writer else []
    speculation = Speculation(
        proposer, planner, measured(free), vocab_size=100, stats=EngineStats()
    )
    for _ in range(50):
        planned = speculation.plan([writer, reader])
        assert set(planned) == {writer, reader}
        step = ScheduledStep([writer, reader], [1, 1])
        for sequence, count in planned.items():
            step.plan_drafts(sequence, count)
        speculation.propose(step)
        # What the planner expects of the one that has drafts.
        num_right = round(sum(0.9**number for number in range(1, planned[writer] + 1)))
        speculation.note_verified([writer, reader], [[0] * (1 + num_right), [0]])
    assert planner._calibration.factor > 0.9
