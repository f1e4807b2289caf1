"""Beam search: finds the likeliest whole answers by several sequences that advance together."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from server.engine.requests.beam_candidates import Candidates
from server.engine.sampling.sampler import BAD_LOGITS
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import EngineRequest, GrowableArray, Sequence
from server.payloads import FinishReason, TokenIdLogprobs


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A complete answer. `score` is its log probability / its length ** length_penalty."""

    score: float
    token_ids: list[int]
    logprobs: list[TokenIdLogprobs]
    finish_reason: FinishReason


@dataclass(eq=False, slots=True)
class Beam:
    """An answer that is not complete. `score` is the log probability of its tokens so far."""

    sequence: Sequence
    score: float = 0.0
    logprobs: list[TokenIdLogprobs] = field(default_factory=list)
    candidates: Candidates | None = None


@dataclass(frozen=True, slots=True)
class Continuation:
    """A beam with one more token."""

    beam: Beam
    token_id: int
    score: float
    logprobs: tuple[TokenIdLogprobs, ...]


class BeamSearch:
    """The beams of one request; a SequenceGroup for the scheduler.

    The search is that of transformers' `generate`. Of all continuations of all beams, the best
    `num_beams` that do not end become the next beams. A continuation that ends is an answer if it
    is among the best `num_beams` of all. The scheduler has either the beams or, at first and after
    a preemption, one sequence with their common tokens, from which they fork.

    A beam whose logits are known takes no part in steps until those of the others are known too.
    `hypotheses` are the best answers so far, best first. When `is_finished`, they are the result,
    unless `failure` says why there is none.
    """

    def __init__(self, request: EngineRequest, arrival: int) -> None:
        self.request = request
        self.hypotheses: list[Hypothesis] = []
        self.is_finished = False
        self.failure: str | None = None
        first = Sequence(request, arrival=arrival)
        first.group = self
        self._beams = [Beam(first)]
        self._prefix: Sequence | None = None

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences of this search that are in the scheduler."""
        if self._prefix is not None:
            return [self._prefix]
        return [beam.sequence for beam in self._beams]

    def collapse(self) -> Sequence:
        """The sequence to schedule after the scheduler has forgotten `sequences`.

        It has the common first tokens of all beams, so that they share its blocks again.
        """
        if self._prefix is not None:
            return self._prefix
        first = self._beams[0].sequence
        for beam in self._beams:
            beam.candidates = None
        if len(self._beams) == 1:
            return first
        tokens = np.stack([beam.sequence.token_ids.view() for beam in self._beams])
        num_common = int((tokens == tokens[0]).all(axis=0).argmin())
        prefix = first.copy()
        prefix.token_ids = GrowableArray(np.int64, tokens[0, :num_common])
        prefix.penalty_counts = None
        prefix.num_pending_forks = self.request.params.num_beams - 1
        prefix.has_started = True
        self._prefix = prefix
        return prefix

    def take(self, sequence: Sequence, candidates: Candidates | None, scheduler: Scheduler) -> None:
        """Note that one of `sequences` is computed; after the last one, all advance by a token."""
        if candidates is None:
            scheduler.discard(sequence)
            self._fail(BAD_LOGITS)
        if self.is_finished:
            return
        if sequence is self._prefix:
            self._split(scheduler)
            return
        for beam in self._beams:
            if beam.sequence is sequence:
                beam.candidates = candidates
        if all(beam.candidates is not None for beam in self._beams):
            self._advance(scheduler)

    def _split(self, scheduler: Scheduler) -> None:
        """Fork the beams from their common prefix."""
        prefix, self._prefix = self._prefix, None
        assert prefix is not None, "there is a common prefix to fork from"
        for beam in self._beams:
            scheduler.add_fork(prefix, beam.sequence)
        scheduler.remove(prefix)

    def _advance(self, scheduler: Scheduler) -> None:
        num_beams = self.request.params.num_beams
        length = self._beams[0].sequence.num_generated_tokens + 1
        is_last = length == self.request.max_tokens
        going_on: list[Continuation] = []
        for rank, continuation in enumerate(self._ranked()):
            is_end = continuation.token_id in self.request.end_token_ids
            if rank < num_beams and (is_end or is_last):
                self._complete(continuation, length, "stop" if is_end else "length")
            elif not is_end and len(going_on) < num_beams:
                going_on.append(continuation)
            elif rank >= num_beams and len(going_on) == num_beams:
                break
        # A stable sort: of equal ones the earlier stays first.
        self.hypotheses.sort(key=lambda hypothesis: -hypothesis.score)
        del self.hypotheses[num_beams:]
        if is_last or not going_on or self._is_decided(going_on[0].score, length):
            self._finish()
        else:
            self._grow(going_on, scheduler)

    def _finish(self) -> None:
        self.is_finished = True
        found, wanted = len(self.hypotheses), self.request.params.n
        if found < wanted:
            self._fail(f"the model gave only {found} of {wanted} answers a probability above 0")

    def _fail(self, reason: str) -> None:
        self.is_finished, self.failure = True, reason

    def _ranked(self) -> Iterator[Continuation]:
        """The continuations of all beams, best first."""
        found = [(beam, beam.candidates) for beam in self._beams if beam.candidates is not None]
        sizes = [len(candidates.scores) for _, candidates in found]
        scores = np.concatenate([candidates.scores for _, candidates in found]).astype(np.float64)
        scores += np.repeat([beam.score for beam, _ in found], sizes)
        tokens = np.concatenate([candidates.token_ids for _, candidates in found])
        numbers = np.repeat(np.arange(len(found)), sizes)
        positions = np.concatenate([np.arange(size) for size in sizes])
        has_logprobs = self.request.params.logprobs is not None
        order = np.argsort(-scores, kind="stable")
        # Plain numbers are read faster than those of arrays, one by one.
        columns = [column[order].tolist() for column in (numbers, positions, tokens, scores)]
        for number, position, token, score in zip(*columns, strict=True):
            beam, candidates = found[number]
            logprobs = (candidates.entry(position),) if has_logprobs else ()
            yield Continuation(beam, token, score, logprobs)

    def _complete(self, last: Continuation, length: int, reason: FinishReason) -> None:
        sequence = last.beam.sequence
        tokens = sequence.token_ids.view(sequence.num_prompt_tokens).tolist()
        self.hypotheses.append(
            Hypothesis(
                self._normalise(last.score, length),
                [*tokens, last.token_id],
                [*last.beam.logprobs, *last.logprobs],
                reason,
            )
        )

    def _normalise(self, score: float, length: int) -> float:
        weight: float = length**self.request.params.length_penalty
        return score / weight

    def _is_decided(self, best_score: float, length: int) -> bool:
        """Whether no better answer is expected, by the rules of `early_stopping`.

        `true` ends with the first `num_beams` answers. Otherwise the best beam is compared with the
        worst answer: at its present length, or, with "never", at the length that favours it most.
        """
        params = self.request.params
        if len(self.hypotheses) < params.num_beams:
            return False
        if params.early_stopping is True:
            return True
        if params.early_stopping == "never" and params.length_penalty > 0:
            length = self.request.max_tokens
        return self._normalise(best_score, length) <= self.hypotheses[-1].score

    def _grow(self, going_on: list[Continuation], scheduler: Scheduler) -> None:
        """Make the continuations the new beams; the best one of each old beam takes it over."""
        beams: list[Beam] = []
        for continuation in going_on:
            beam = continuation.beam
            beams.append(_fork(beam, scheduler) if beam in beams else beam)
        for beam in self._beams:
            if beam not in beams:
                scheduler.remove(beam.sequence)
        for beam, continuation in zip(beams, going_on, strict=True):
            beam.sequence.append(continuation.token_id)
            beam.score = continuation.score
            beam.logprobs += continuation.logprobs
            beam.candidates = None
            beam.sequence.num_pending_forks = 0
        # Where few tokens were possible there are fewer beams for now; their seats are kept.
        beams[0].sequence.num_pending_forks = self.request.params.num_beams - len(beams)
        self._beams = beams


def _fork(beam: Beam, scheduler: Scheduler) -> Beam:
    sequence = beam.sequence.copy()
    scheduler.add_fork(beam.sequence, sequence)
    return Beam(sequence, logprobs=beam.logprobs.copy())
