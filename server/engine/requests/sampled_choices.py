"""The unfinished requests whose tokens are sampled, and what a step brings for them."""

from collections.abc import Callable
from collections.abc import Sequence as Rows

from server.engine.requests.accepted_runs import Run
from server.engine.requests.outputs import LaterLogprobs, SequenceOutput
from server.engine.requests.request_stats import RequestStats
from server.engine.sampling.sampler import BAD_LOGITS
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import EngineRequest, Sequence
from server.engine.token_constraint import TokenConstraint
from server.engine.token_mask import TokenMask
from server.errors import GenerationError, InvalidRequestError, RequestError
from server.host.metrics import EngineStats
from server.payloads import FinishReason, TokenIdLogprobs


class SampledChoices:
    """Unfinished choices, by the number of their request and their own index."""

    def __init__(self, stats: EngineStats) -> None:
        self._engine_stats = stats
        self._stats = RequestStats(stats)
        self._choices: dict[int, dict[int, Sequence]] = {}

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._choices

    @property
    def request_ids(self) -> set[int]:
        """The requests that have unfinished choices."""
        return set(self._choices)

    @property
    def sequences(self) -> list[Sequence]:
        """All unfinished choices; one for each prompt that is not read yet."""
        return [sequence for choices in self._choices.values() for sequence in choices.values()]

    def add(self, request: EngineRequest, arrival: int) -> Sequence:
        """Begin a request; returns the sequence to schedule for it."""
        sequence = Sequence(request, arrival=arrival)
        self._choices[request.request_id] = {0: sequence}
        return sequence

    def end(
        self, request_id: int, scheduler: Scheduler, index: int | None = None, *, reason: str
    ) -> list[Sequence]:
        """Forget one choice of a request, or all, and free their blocks; returns them.

        `reason` is why, for the metrics: stop, abort or error.
        """
        choices = self._choices[request_id].values()
        ended = [choice for choice in choices if index in (None, choice.index)]
        for sequence in ended:
            self._finish(sequence, scheduler, reason)
        return ended

    def fail(self, request_id: int, reason: str, scheduler: Scheduler) -> list[SequenceOutput]:
        """End a request with an error for each of its choices."""
        return [
            SequenceOutput(request_id, sequence.index, error=GenerationError(reason))
            for sequence in self.end(request_id, scheduler, reason="error")
        ]

    def clear(self) -> None:
        """Forget all choices, because the scheduler and the blocks are gone."""
        self._choices.clear()

    def compute_masks(self, step: ScheduledStep) -> None:
        """Compute the masks of the sequences that get a token from this step; needs no logits.

        An error is kept with its sequence and ends only that one, in `advance`. Drafts from the
        first one that a mask forbids on are dropped.
        """
        for sequence in step.sequences:
            if sequence.constraint is None or sequence.num_uncomputed_tokens > 0:
                continue
            try:
                sequence.mask = _mask(sequence.constraint, sequence.request)
            except RequestError as error:
                sequence.error = error
            drafts = step.drafts.get(sequence, ())
            if drafts:
                masks = [] if sequence.error else _masks_after(sequence, drafts)
                step.draft_masks[sequence] = masks
                step.drafts[sequence] = drafts[: len(masks)]

    def fork(self, computed: list[Sequence]) -> tuple[list[Sequence], Rows[int] | None]:
        """The sequences to sample for, with their further choices, which begin where a prompt ends.

        Returns the sequences and the rows of their logits, None where these are one to one. Beams
        and pooled prompts are left out. All choices of a prompt read the same row.
        """
        if not any(s.num_pending_forks or s.group or s.request.pooling for s in computed):
            return computed, None
        sequences: list[Sequence] = []
        rows: list[int] = []
        for row, parent in enumerate(computed):
            if parent.group is not None or parent.request.pooling is not None:
                continue
            children = [
                Sequence(parent.request, index, parent.arrival)
                for index in range(1, parent.num_pending_forks + 1)
            ]
            for child in children:
                child.mask, child.error = parent.mask, parent.error
            parent.num_pending_forks = 0
            sequences += [parent, *children]
            rows += [row] * (1 + len(children))
        return sequences, rows

    def advance(
        self, sequences: Rows[Sequence], runs: Rows[Run], scheduler: Scheduler
    ) -> list[SequenceOutput]:
        """Give each sequence of `fork` its tokens; complete ones end."""
        self._adopt_forks(sequences, scheduler)
        self._stats.begin_step()
        outputs = [
            self._advance(sequence, run, scheduler)
            for sequence, run in zip(sequences, runs, strict=True)
        ]
        self._stats.end_step()
        return outputs

    def _adopt_forks(self, sequences: Rows[Sequence], scheduler: Scheduler) -> None:
        for sequence in sequences:
            choices = self._choices[sequence.request.request_id]
            if sequence.index not in choices:
                scheduler.add_fork(choices[0], sequence)
                choices[sequence.index] = sequence

    def _advance(self, sequence: Sequence, run: Run, scheduler: Scheduler) -> SequenceOutput:
        if sequence.error is not None:
            return self._fail(sequence, sequence.error, scheduler)
        if any(sampled.token_id is None for sampled in run):
            scheduler.discard(sequence)
            return self._fail(sequence, GenerationError(BAD_LOGITS), scheduler)
        request = sequence.request
        is_first = sequence.num_generated_tokens == 0
        tokens: list[int] = []
        find_logprobs: list[Callable[[], TokenIdLogprobs]] = []
        reason = None
        for sampled in run:
            if tokens:
                scheduler.accept_draft(sequence)
                self._note_accepted(len(tokens) - 1)
            token = None if request.max_tokens == 0 else sampled.token_id
            if token is not None:
                tokens.append(token)
                if sampled.find_logprobs is not None:
                    find_logprobs.append(sampled.find_logprobs)
                sequence.append(token)
                self._stats.note_token(sequence)
            reason = _finish_reason(sequence, token)
            if reason is not None:
                self._finish(sequence, scheduler, reason)
                break
            if sequence.constraint is not None and token is not None:
                sequence.constraint.accept(token)
                sequence.mask = None
        if reason is None and sequence.is_long and not sequence.uses_long_rope:
            scheduler.recompute(sequence)
        return SequenceOutput(
            request.request_id,
            sequence.index,
            tuple(tokens),
            LaterLogprobs(find_logprobs) if find_logprobs else None,
            reason,
            request.num_cached_tokens,
            request.prompt_logprobs if is_first else None,
        )

    def _note_accepted(self, position: int) -> None:
        """Count an accepted draft by its place among those of its step."""
        counts = self._engine_stats.accepted_per_position
        counts[position] = counts.get(position, 0) + 1

    def _fail(
        self, sequence: Sequence, error: RequestError, scheduler: Scheduler
    ) -> SequenceOutput:
        self._finish(sequence, scheduler, "error")
        return SequenceOutput(sequence.request.request_id, sequence.index, error=error)

    def _finish(self, sequence: Sequence, scheduler: Scheduler, reason: str) -> None:
        request = sequence.request
        request.num_generated_tokens += sequence.num_generated_tokens
        request.longest_choice = max(request.longest_choice, sequence.num_generated_tokens)
        scheduler.remove(sequence)
        choices = self._choices[request.request_id]
        del choices[sequence.index]
        if not choices:
            del self._choices[request.request_id]
            self._stats.note_end(request, reason)


def _mask(constraint: TokenConstraint, request: EngineRequest) -> TokenMask | None:
    """What may come next by a constraint and by the request. Raises RequestError.

    It is an InvalidRequestError where the constraint forbids all tokens that the request allows.
    """
    forbidden = constraint.forbidden_tokens()
    if forbidden is None:
        return None
    mask = TokenMask(forbidden, None if request.allowed is None else request.allowed.allowed)
    if mask.is_empty:
        raise InvalidRequestError(
            "none of the allowed_token_ids can come next in an answer of the wanted form",
            "allowed_token_ids",
        )
    return mask


def _masks_after(sequence: Sequence, drafts: Rows[int]) -> list[TokenMask | None]:
    """The masks after each of a sequence's drafts, up to the first one that cannot come."""
    assert sequence.constraint is not None, "the caller has asked"
    constraint, mask = sequence.constraint.fork(), sequence.mask
    masks: list[TokenMask | None] = []
    for token in drafts:
        if mask is not None and not mask.allows(token):
            break
        constraint.accept(token)
        try:
            mask = _mask(constraint, sequence.request)
        except RequestError:
            # It ends the sequence if it comes that far.
            break
        masks.append(mask)
    return masks


def _finish_reason(sequence: Sequence, token: int | None) -> FinishReason | None:
    if token in sequence.request.end_token_ids:
        return "stop"
    if sequence.num_generated_tokens >= sequence.request.max_tokens:
        return "length"
    return None
