"""sample_runs: what is sampled with drafts has the probabilities of sampling token by token."""

import numpy as np
import pytest
from support.engine_helpers import logits_of, make_sequence

from server.engine.model.model_runner import StepOutput
from server.engine.requests.accepted_runs import sample_runs
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence

VOCAB_SIZE = 8
NUM_SEQUENCES = 4000
CRITICAL = 24.3
"""Chi-square with 7 degrees of freedom exceeds it once in a thousand cases."""

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def step_of(
    drafts: dict[Sequence, tuple[int, ...]], rows: Floats
) -> tuple[ScheduledStep, StepOutput]:
    """A step of sequences with as many drafts each, and the same rows of logits for each."""
    sequences = list(drafts)
    num = len(rows) - 1
    step = ScheduledStep(sequences, [1] * len(sequences))
    for sequence, tokens in drafts.items():
        step.plan_drafts(sequence, num)
        step.set_drafts(sequence, tokens)
    values = np.concatenate([np.repeat(rows[:1], len(sequences), 0), *[rows[1:]] * len(sequences)])
    first_rows = {s: len(sequences) + number * num for number, s in enumerate(sequences)}
    output = StepOutput(sequences, logits_of(values, 32), [], draft_rows=first_rows)
    return step, output


def chi_square(tokens: list[int], logits: Floats) -> float:
    """How far the counts of tokens are from the probabilities of logits."""
    expected = np.exp(logits.astype(np.float64))
    expected *= len(tokens) / expected.sum()
    counts = np.bincount(tokens, minlength=VOCAB_SIZE)
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("fields", [{}, {"seed": 0}, {"logit_bias": {1: 0.0}}], ids=str)
@pytest.mark.parametrize("rank", [0, 4])
def test_probabilities_are_those_of_one_token_at_a_time(
    fields: dict[str, object], rank: int
) -> None:
    """Whether a draft is likely or not, and both where it is accepted and where it is not."""
    rows = np.random.default_rng(7).normal(0, 1, (3, VOCAB_SIZE)).astype(np.float32)
    drafts = int(np.argsort(-rows[0])[rank]), int(rows[1].argmax())
    sequences = []
    for number in range(NUM_SEQUENCES):
        sequences.append(make_sequence([1], 9, temperature=1.0, **fields))
        # The same numbers in every run of the test.
        sequences[-1]._rng = np.random.Generator(np.random.PCG64(number))
    step, output = step_of(dict.fromkeys(sequences, drafts), rows)
    runs = [[t.token_id for t in run] for run in sample_runs(step, output, sequences, None)]
    for place, logits in enumerate(rows):
        tokens = [run[place] for run in runs if len(run) > place]
        assert len(tokens) > 50
        assert chi_square([t for t in tokens if t is not None], logits) < CRITICAL
    for run in runs:
        assert list(drafts[: len(run) - 1]) == run[:-1]
        assert len(run) == 3 or run[-1] != drafts[len(run) - 1]


@pytest.mark.parametrize("num_right", [0, 1, 3])
@pytest.mark.parametrize("fields", [{}, {"repetition_penalty": 1.5}], ids=str)
def test_generators_and_tokens_are_left_as_after_one_token_at_a_time(
    num_right: int, fields: dict[str, object]
) -> None:
    rows = np.random.default_rng(8).normal(0, 1, (4, VOCAB_SIZE)).astype(np.float32)
    plain = make_sequence([1, 4], 9, temperature=1.0, seed=5, **fields)
    tokens = []
    for row in rows[: num_right + 1]:
        ((sampled,),) = sample_runs(
            ScheduledStep(), StepOutput([plain], logits_of(row[None], 32), []), [plain], None
        )
        assert sampled.token_id is not None
        tokens.append(sampled.token_id)
        plain.append(sampled.token_id)
    drafted = make_sequence([1, 4], 9, temperature=1.0, seed=5, **fields)
    drafts = [*tokens[:num_right], (tokens[num_right] + 1) % VOCAB_SIZE, 0, 0][:3]
    step, output = step_of({drafted: tuple(drafts)}, rows)
    (run,) = sample_runs(step, output, [drafted], None)
    assert [sampled.token_id for sampled in run] == tokens
    assert drafted.rng.bit_generator.state == plain.rng.bit_generator.state
    assert drafted.token_ids.view().tolist() == [1, 4]
    for token in tokens:
        drafted.append(token)
    if drafted.penalty_counts is not None and plain.penalty_counts is not None:
        for one, other in (
            (drafted.penalty_counts.token_ids, plain.penalty_counts.token_ids),
            (drafted.penalty_counts.generated, plain.penalty_counts.generated),
        ):
            assert one.view().tolist() == other.view().tolist()
