"""ScheduledStep: its totals are those of its contents, whatever is added and removed."""

import random

import pytest
from support.engine_helpers import make_sequence

from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.step_costs import context_work
from server.engine.sequence import Sequence


@pytest.mark.parametrize("seed", range(4))
def test_totals_follow_what_is_added_and_removed(seed: int) -> None:
    rng = random.Random(seed)
    step, expected = ScheduledStep(), dict[Sequence, int]()
    sequences = [make_sequence(range(40), prompt_logprobs=rng.choice([None, 0])) for _ in range(8)]
    for sequence in sequences:
        sequence.num_computed_tokens = rng.randint(0, 20)
    for _ in range(100):
        sequence = rng.choice(sequences)
        if rng.random() < 0.6:
            num_new = rng.randint(1, 5)
            step.add(sequence, num_new)
            expected[sequence] = expected.get(sequence, 0) + num_new
        else:
            step.remove(sequence)
            expected.pop(sequence, None)
        assert dict(zip(step.sequences, step.num_new_tokens, strict=True)) == expected
        assert [step.num_of(s) for s in sequences] == [expected.get(s, 0) for s in sequences]
        assert step.num_tokens == sum(expected.values())
        pairs = expected.items()
        assert step.context == sum(context_work(s.num_computed_tokens, num) for s, num in pairs)
        scored = [num for s, num in pairs if s.unread_prompt_logprobs is not None]
        assert step.num_prompt_rows == sum(scored)
