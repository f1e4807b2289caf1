"""Lets a draft model go on with some sequences, one token of each at a time."""

from collections.abc import Sequence as Rows
from time import perf_counter

import numpy as np
import numpy.typing as npt

from server.engine.model.model_runner import ModelRunner
from server.engine.sampling.logits import Logits
from server.engine.sampling.logits_processors import has_processors
from server.engine.sampling.logprobs import log_sums
from server.engine.sampling.sampler import sample
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence

LEAST_SHARE = 0.5
"""Sequences that have enough are computed along with the others, unless fewer than this go on."""

Ends = dict[Sequence, int]
"""How many tokens each sequence has when it has enough."""


class DraftLoop:
    """The steps of one proposal.

    A step of a small model takes no longer than packing its inputs. So they are packed once, and
    then changed in place. Where all sequences take the likeliest token, nothing else is read of
    the logits. `num_steps` and `seconds` are of the steps of `run`.
    """

    def __init__(self, runner: ModelRunner, vocab_size: int, ends: Ends) -> None:
        self._runner = runner
        self._vocab_size = vocab_size
        self._ends = ends
        self.num_steps = 0
        self.seconds = 0.0

    def read(self, step: ScheduledStep) -> list[Sequence]:
        """Run a step of any tokens; returns the sequences that are read whole and go on."""
        output = self._runner.run(step)
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
            sequence.num_computed_tokens += num_new
        if all(map(_takes_likeliest, output.sequences)):
            return self._take(output.sequences, output.logits.argmax().tolist())
        return self._take(output.sequences, self._sample(output.logits, output.sequences))

    def run(self, sequences: list[Sequence]) -> list[Sequence]:
        """Run steps until many of these sequences have enough; returns those that go on."""
        began = perf_counter()
        self._runner.bind(ScheduledStep(sequences, [1] * len(sequences)))
        is_greedy = all(map(_takes_likeliest, sequences))
        rows = {sequence: row for row, sequence in enumerate(sequences)}
        tokens = np.array([_last(sequence) for sequence in sequences], np.int64)
        going, which = sequences, list(range(len(sequences)))
        while True:
            if is_greedy:
                found: Rows[int | None] = self._runner.likeliest_of_bound()[which].tolist()
            else:
                found = self._sample(self._runner.logits_of_bound().select(which), going)
            for sequence in going:
                sequence.num_computed_tokens += 1
            going = self._take(going, found)
            self.num_steps += 1
            if not going or len(going) < LEAST_SHARE * len(sequences):
                break
            if not self._runner.can_advance:
                break
            which = [rows[sequence] for sequence in going]
            tokens[which] = [_last(sequence) for sequence in going]
            self._runner.advance(tokens, which)
        self.seconds += perf_counter() - began
        return going

    def _take(self, sequences: Rows[Sequence], tokens: Rows[int | None]) -> list[Sequence]:
        """Give each sequence its token; returns those that go on."""
        going = []
        for sequence, token in zip(sequences, tokens, strict=True):
            if token is None or token >= self._vocab_size:
                continue
            sequence.append(token)
            is_end = token in sequence.request.end_token_ids
            if not is_end and sequence.num_tokens < self._ends[sequence]:
                going.append(sequence)
        return going

    def _sample(self, logits: Logits, sequences: list[Sequence]) -> list[int | None]:
        """A token for each sequence, by its own random numbers; one that is not sure ends it."""
        tokens = [token.token_id for token in sample(logits, sequences)]
        for sequence, is_sure in zip(sequences, _are_sure(logits, sequences, tokens), strict=True):
            if not is_sure:
                self._ends[sequence] = 0
        return tokens


def _takes_likeliest(sequence: Sequence) -> bool:
    """Whether its next tokens are the likeliest ones, and nothing else is asked about them."""
    params = sequence.request.params
    is_asked = params.assistant_confidence_threshold or has_processors(sequence)
    return params.is_greedy and not is_asked


def _last(sequence: Sequence) -> int:
    return sequence.token_ids[sequence.num_tokens - 1]


def _are_sure(
    logits: Logits, sequences: list[Sequence], tokens: Rows[int | None]
) -> npt.NDArray[np.bool_]:
    """Whether each token is as likely as its request wants drafts to be."""
    least = np.array([s.request.params.assistant_confidence_threshold or 0.0 for s in sequences])
    is_sure = np.ones(len(least), np.bool_)
    which = [i for i, token in enumerate(tokens) if least[i] and token is not None]
    if which:
        part = logits.select(which)
        chosen = np.array([tokens[i] for i in which], np.int64)
        is_sure[which] = np.exp(part.of_tokens(chosen) - log_sums(part)) >= least[which]
    return is_sure
