"""All unfinished requests of an engine: tokens are sampled or searched, prompts are pooled."""

from collections.abc import Iterable
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.model.model_runner import StepOutput
from server.engine.requests.accepted_runs import Run, sample_runs
from server.engine.requests.beam_searches import BeamSearches, Found
from server.engine.requests.outputs import SequenceOutput
from server.engine.requests.pooled_prompts import PooledPrompts
from server.engine.requests.sampled_choices import SampledChoices
from server.engine.sampling.logprobs import gather_prompt_logprobs
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import EngineRequest, Sequence
from server.host.metrics import EngineStats


@dataclass(frozen=True, slots=True)
class NextTokens:
    """What a step leads to: tokens of sampled sequences, candidates of beams, pooled values."""

    sequences: Rows[Sequence]
    runs: Rows[Run]
    found: Found
    pooled: list[tuple[Sequence, npt.NDArray[np.float32]]]


class RequestTracker:
    """The unfinished requests: sets of sampled choices, beam searches, and pooled prompts."""

    def __init__(self, stats: EngineStats) -> None:
        self._choices = SampledChoices(stats)
        self._searches = BeamSearches(stats)
        self._pooled = PooledPrompts(stats)
        self._kinds = self._choices, self._searches, self._pooled

    def __contains__(self, request_id: int) -> bool:
        return any(request_id in kind for kind in self._kinds)

    @property
    def request_ids(self) -> set[int]:
        """The unfinished requests."""
        return {request_id for kind in self._kinds for request_id in kind.request_ids}

    @property
    def sequences(self) -> list[Sequence]:
        """What the scheduler has of all requests."""
        return [sequence for kind in self._kinds for sequence in kind.sequences]

    def add(self, request: EngineRequest, arrival: int) -> Sequence:
        """Begin a request; returns the sequence to schedule for it."""
        if request.pooling is not None:
            return self._pooled.add(request, arrival)
        if request.params.num_beams > 1:
            return self._searches.add(request, arrival)
        return self._choices.add(request, arrival)

    def abort(self, request_id: int, scheduler: Scheduler, index: int | None = None) -> None:
        """Stop one choice of a request, or all; harmless where it is over.

        A beam search has no choices before its end: it can only be stopped as a whole.
        """
        if request_id in self._choices:
            # Who stops a single choice has found its end, a stop string for example.
            reason = "abort" if index is None else "stop"
            self._choices.end(request_id, scheduler, index, reason=reason)
        elif request_id in self._searches and index is None:
            self._searches.end(request_id, scheduler, "abort")
        elif request_id in self._pooled:
            self._pooled.end(request_id, scheduler, "abort")

    def fail(
        self, request_ids: Iterable[int], reason: str, scheduler: Scheduler
    ) -> list[SequenceOutput]:
        """End requests with an error."""
        return [
            output
            for request_id in request_ids
            for kind in self._kinds
            if request_id in kind
            for output in kind.fail(request_id, reason, scheduler)
        ]

    def collapse(self, scheduler: Scheduler) -> list[Sequence]:
        """Take all sequences from a scheduler; returns those to add to the next one."""
        for sequence in self.sequences:
            scheduler.remove(sequence)
        return self._choices.sequences + self._searches.collapsed() + self._pooled.sequences

    def clear(self) -> None:
        """Forget all requests, because the scheduler and the blocks are gone."""
        for kind in self._kinds:
            kind.clear()

    def compute_masks(self, step: ScheduledStep) -> None:
        """Compute what the constraints of a step's sequences forbid; needs no logits."""
        self._choices.compute_masks(step)

    def choose(self, step: ScheduledStep, output: StepOutput) -> NextTokens:
        """Choose the next tokens from the logits of a step; no request moves on yet."""
        for gathered, logits in output.prompt_logits:
            gather_prompt_logprobs(gathered, logits)
        sequences, rows = self._choices.fork(output.sequences)
        runs = sample_runs(step, output, sequences, rows)
        found = self._searches.find_candidates(output)
        return NextTokens(sequences, runs, found, self._pooled.pool(output))

    def advance(self, chosen: NextTokens, scheduler: Scheduler) -> list[SequenceOutput]:
        """Move the requests on by the chosen tokens; returns what is new."""
        outputs = self._choices.advance(chosen.sequences, chosen.runs, scheduler)
        outputs += self._searches.advance(chosen.found, scheduler)
        return outputs + self._pooled.advance(chosen.pooled, scheduler)
