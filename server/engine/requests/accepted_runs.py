"""Samples the rows of drafts: each one as long as the token before it is the one that was guessed.

So a sequence gets exactly the tokens that it would have got one by one, whatever was guessed: every
row is sampled by the code, and with the random numbers, that a step without drafts would use. That
keeps the distribution as rejection sampling does (Y. Leviathan, arXiv 2211.17192), and more.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Rows
from typing import Any

from server.engine.model.model_runner import StepOutput
from server.engine.sampling.logits_processors import has_processors
from server.engine.sampling.random_sampling import NUM_UNIFORMS
from server.engine.sampling.sampler import SampledToken, sample
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence

Run = Rows[SampledToken]
"""The next tokens of a sequence; all but the last one are equal to its first drafts."""


def sample_runs(
    step: ScheduledStep, output: StepOutput, sequences: Rows[Sequence], rows: Rows[int] | None
) -> Rows[Run]:
    """The next tokens of each sequence; no sequence moves on yet.

    `rows[i]` is the row of `sequences[i]`; without `rows` it is i.
    """
    if not step.drafts:
        return [(token,) for token in sample(output.logits, sequences, rows)]
    rows = range(len(sequences)) if rows is None else rows
    at_once = {s for s, drafts in step.drafts.items() if drafts and not _depends_on_history(s)}
    runs = _sample_at_once(step, output, sequences, rows, at_once)
    in_turn = {
        sequence: run
        for sequence, run in zip(sequences, runs, strict=True)
        if step.drafts.get(sequence) and sequence not in at_once
    }
    _sample_in_turn(step, output, in_turn)
    return runs


def _depends_on_history(sequence: Sequence) -> bool:
    """Whether the logits of a row are changed by what comes before it."""
    return sequence.constraint is not None or has_processors(sequence)


def _sample_at_once(
    step: ScheduledStep,
    output: StepOutput,
    sequences: Rows[Sequence],
    rows: Rows[int],
    with_drafts: set[Sequence],
) -> list[list[SampledToken]]:
    """The runs of some sequences with drafts, and the first token of all others.

    Rows after the first one that differs from its draft are sampled in vain, which costs less than
    sampling row after row. The random numbers that they took are given back.
    """
    owners: list[Sequence] = []
    sampled_rows: list[int] = []
    for sequence, row in zip(sequences, rows, strict=True):
        owners.append(sequence)
        sampled_rows.append(row)
        if sequence in with_drafts:
            first, count = output.draft_rows[sequence], len(step.drafts[sequence])
            owners += [sequence] * count
            sampled_rows += range(first, first + count)
    states = {s: s.rng.bit_generator.state for s in with_drafts if _repeats(s)}
    sampled = iter(sample(output.logits, owners, sampled_rows))
    runs = []
    for sequence in sequences:
        run = [next(sampled)]
        is_right = True
        for draft in step.drafts[sequence] if sequence in with_drafts else ():
            token = next(sampled)
            is_right = is_right and run[-1].token_id == draft
            if is_right:
                run.append(token)
        runs.append(run)
        if sequence in states:
            _draw_again(sequence, states[sequence], len(run))
    return runs


def _repeats(sequence: Sequence) -> bool:
    """Whether the same request must give the same tokens again, though they are random."""
    params = sequence.request.params
    return params.seed is not None and not params.is_greedy


def _draw_again(sequence: Sequence, state: Mapping[str, Any], num_tokens: int) -> None:
    """Bring a generator from a former state to that after so many tokens."""
    sequence.rng.bit_generator.state = state
    sequence.rng.random(NUM_UNIFORMS * num_tokens)


def _sample_in_turn(
    step: ScheduledStep, output: StepOutput, runs: dict[Sequence, list[SampledToken]]
) -> None:
    """Extend the runs, which have one token each, row by row.

    The sequences have the tokens of their runs meanwhile, because what comes next depends on them.
    """
    sizes = {sequence: sequence.num_tokens for sequence in runs}
    number = 0
    try:
        while runs := {s: run for s, run in runs.items() if _goes_on(step.drafts[s], run)}:
            for sequence in runs:
                sequence.append(step.drafts[sequence][number])
                if sequence.constraint is not None:
                    sequence.mask = step.draft_masks[sequence][number]
            rows = [output.draft_rows[sequence] + number for sequence in runs]
            sampled = sample(output.logits, list(runs), rows)
            for run, token in zip(runs.values(), sampled, strict=True):
                run.append(token)
            number += 1
    finally:
        for sequence, size in sizes.items():
            sequence.take_back(sequence.num_tokens - size)


def _goes_on(drafts: Rows[int], run: Run) -> bool:
    """Whether the last token of a run is the draft at its place."""
    return len(run) <= len(drafts) and run[-1].token_id == drafts[len(run) - 1]
