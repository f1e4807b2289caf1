"""Decides, step by step, which tokens of which sequences are computed next."""

from bisect import insort
from collections.abc import Callable
from time import perf_counter

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.admission import Admission, running_order
from server.engine.scheduling.fair_decoding import choose_decoding
from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.patience import Patience
from server.engine.scheduling.prompt_reserve import PromptReserve
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.step_limits import StepLimits
from server.engine.sequence import Sequence, SequenceStatus
from server.host.metrics import EngineStats

PlanDrafts = Callable[[list[Sequence]], dict[Sequence, int]]
"""How many drafts each of some decoding sequences should have; nothing for those without."""


def no_drafts(decoding: list[Sequence]) -> dict[Sequence, int]:
    """The plan of an engine without speculation."""
    return {}


class Scheduler:
    """Decodes what decodes, and shares the rest of each step's tokens among the prompts.

    There are no prefill and decode phases: every step first takes one token of each decoding
    sequence, then goes on with prompts in chunks (Sarathi-Serve, arXiv 2403.02310; FastGen's
    Dynamic SplitFuse). Prompts of a lower priority number go first; of these, those of the client
    that has had the fewest tokens; of its prompts, the one that is due first (Patience), so that a
    long prompt does not hold up short ones. It is not starved either: a part of every step is
    reserved for the oldest prompt that is being read, and a request that has waited too long starts
    before all others of its client. A prompt whose reading takes many steps leaves some of them to
    answers (LatencyTarget). A request of many sequences leaves seats to others (Admission) and time
    of every step (choose_decoding).

    When blocks run out the last sequence is preempted: it gives its blocks back and is computed
    again later. The first sequence always gets what it needs, so everything ends. A lower priority
    number never takes the place of what runs already, except where blocks run out.

    While nothing can start, a step in which everything decodes determines the next one, unless a
    sequence ends: `look_ahead` returns it, to be prepared while the device computes.

    `plan_drafts` says how many guessed tokens a step should compute after the one of a decoding
    sequence. They get blocks that nobody else needs, or none. A step with drafts determines no
    other one.
    """

    def __init__(
        self,
        kv: KVCacheManager,
        max_num_batched_tokens: int,
        max_num_seqs: int,
        dynamic_split_fuse: bool,
        max_num_prompt_rows: int,
        stats: EngineStats,
        target: LatencyTarget,
        plan_drafts: PlanDrafts = no_drafts,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._kv = kv
        self._split_fuse = dynamic_split_fuse
        self._stats = stats
        patience = Patience(target.costs, max_num_batched_tokens, clock)
        self._limits = StepLimits(max_num_batched_tokens, max_num_prompt_rows, target, patience)
        self._running: list[Sequence] = []
        # Every running sequence must fit a step with one token, or the last ones would starve.
        max_num_seqs = min(max_num_seqs, max_num_batched_tokens)
        self._admission = Admission(
            kv, self._limits, max_num_seqs, dynamic_split_fuse, stats, self._running
        )
        self._reserve = PromptReserve()
        self._plan_drafts = plan_drafts
        self._next_step: ScheduledStep | None = None

    @property
    def num_waiting(self) -> int:
        """Sequences without blocks."""
        return self._admission.num_waiting

    @property
    def num_running(self) -> int:
        """Sequences with blocks."""
        return len(self._running)

    @property
    def has_work(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self._running or self.num_waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence without blocks."""
        self._admission.add(sequence)

    def add_fork(self, parent: Sequence, child: Sequence) -> None:
        """Run `child`, a further choice of the parent's request, from where the parent is."""
        self._next_step = None
        self._kv.fork(parent, child)
        child.status = SequenceStatus.RUNNING
        child.has_started = True
        child.num_charged_tokens = child.num_computed_tokens
        insort(self._running, child, key=running_order)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is, and free its blocks."""
        if sequence.status is SequenceStatus.RUNNING:
            self._next_step = None
            self._running.remove(sequence)
            self._admission.charge(sequence)
            self._kv.keep_tail(sequence)
        elif sequence.status is SequenceStatus.WAITING:
            self._admission.remove(sequence)
        self._kv.free(sequence)
        sequence.status = SequenceStatus.FINISHED

    def recompute(self, sequence: Sequence) -> None:
        """Compute a running sequence again from its first token, with the long rope factors."""
        self.remove(sequence)
        sequence.uses_long_rope = True
        self.add(sequence)

    def accept_draft(self, sequence: Sequence) -> None:
        """Count the last token of a sequence as computed: it was one of its drafts."""
        sequence.num_computed_tokens += 1
        self._kv.register_computed_blocks(sequence)

    def discard(self, sequence: Sequence) -> None:
        """Remove a sequence whose blocks may hold wrong values; they leave the cache."""
        blocks = sequence.block_table.view().tolist()
        self.remove(sequence)
        self._kv.forget_blocks(blocks)

    def schedule(self) -> ScheduledStep:
        """The next step; empty only if there is no work."""
        step, self._next_step = self._next_step, None
        # What waits may have changed since `look_ahead`.
        if step is not None and not self._admission.is_blocked(len(self._running)):
            step = None
        drafts = None if step is None else self._plan_drafts(step.sequences)
        if step is None or drafts:
            step = self._compose(drafts)
        step.copies = self._kv.take_pending_copies()
        return step

    def look_ahead(self, step: ScheduledStep) -> ScheduledStep | None:
        """The step after this one, if every sequence gets a token and goes on; None if unknown.

        The tokens of `step` must count as computed already. A sequence that starts or ends until
        then makes the next step void; the blocks reserved for it stay with their sequences.
        """
        num_decoding = len(self._running)
        if step.drafts or len(step.sequences) != num_decoding:
            return None
        if not all(map(_goes_on, step.sequences)):
            return None
        num_missing = sum(self._kv.num_blocks_missing(s, 1) for s in step.sequences)
        if num_missing > self._kv.num_free_blocks:
            return None
        if not self._admission.is_blocked(num_decoding, num_missing):
            return None
        for sequence in step.sequences:
            self._kv.allocate(sequence, 1)
        self._next_step = ScheduledStep(step.sequences, [1] * num_decoding)
        return self._next_step

    def _compose(self, drafts: dict[Sequence, int] | None = None) -> ScheduledStep:
        """A new step; `drafts` is the plan for the decoding sequences, if it was made already."""
        step = ScheduledStep()
        self._make_seat()
        self._admission.open()
        # Requests may have become overdue.
        self._running.sort(key=running_order)
        if self._split_fuse:
            self._schedule_decodes(step, drafts)
        self._limits.target.begin(step.num_tokens, step.context)
        self._schedule_prompts(step)
        self._limits.target.end(step.num_tokens, step.context, step.num_prompt_rows)
        if not step.sequences:
            self._schedule_decodes(step, drafts)
        return step

    def _make_seat(self) -> None:
        """Let a sequence wait again where a client without any would wait for a seat."""
        victim = self._admission.find_victim()
        if victim is not None:
            self.remove(victim)
            self.add(victim)
            self._count_preemption(victim)

    def _schedule_decodes(self, step: ScheduledStep, drafts: dict[Sequence, int] | None) -> None:
        decoding = [s for s in self._running if s.num_uncomputed_tokens == 1]
        decoding = choose_decoding(decoding, self._limits.target.costs)
        for sequence in decoding:
            # A sequence later in the list may have been preempted for an earlier one.
            if sequence.status is SequenceStatus.RUNNING and self._get_blocks(sequence, 1, step):
                step.add(sequence, 1)
        planned = self._plan_drafts(decoding) if drafts is None else drafts
        limit = self._draft_limit() if planned else 0
        for sequence, count in planned.items():
            self._add_drafts(sequence, min(count, limit - step.num_tokens), step)

    def _draft_limit(self) -> int:
        """How many tokens a step may have with its drafts; half are left to prompts, if any."""
        has_prompts = self.num_waiting or any(s.num_uncomputed_tokens > 1 for s in self._running)
        return self._limits.max_num_batched_tokens // (2 if has_prompts else 1)

    def _add_drafts(self, sequence: Sequence, count: int, step: ScheduledStep) -> None:
        """Let a sequence of a step have drafts, where there are blocks to spare."""
        num_spare = max(0, self._kv.num_free_blocks - len(self._running))
        if (
            count > 0
            and step.num_of(sequence) == 1
            and self._kv.num_blocks_missing(sequence, 1 + count) <= num_spare
            and self._kv.allocate(sequence, 1 + count)
        ):
            step.plan_drafts(sequence, count)

    def _schedule_prompts(self, step: ScheduledStep) -> None:
        """Go on with prompts, and start waiting ones, each in its turn until the step is full."""
        readers = [s for s in self._running if s.num_uncomputed_tokens > 1]
        if readers:
            self._continue_oldest(min(readers, key=lambda s: (s.arrival, s.index)), step)
        self._admission.begin(step)
        for turn, reader in self._admission.turns(readers):
            self._admission.start_before(turn, step)
            if reader.status is SequenceStatus.RUNNING and not self._limits.is_full(step):
                room = self._limits.room(step, reader, reader.num_computed_tokens)
                self._continue(reader, room, step)
        self._admission.start_before(None, step)

    def _continue_oldest(self, oldest: Sequence, step: ScheduledStep) -> None:
        """Give the oldest prompt what is reserved for it."""
        room = self._limits.room(step, oldest, oldest.num_computed_tokens)
        self._continue(oldest, self._reserve.take(oldest, room), step)

    def _continue(self, sequence: Sequence, room: int, step: ScheduledStep) -> None:
        """Compute at most `room` further tokens of a running prompt."""
        num_new = min(self._limits.chunk_size(sequence, step), room)
        if num_new > 0 and self._get_blocks(sequence, step.num_of(sequence) + num_new, step):
            step.add(sequence, num_new)
            self._admission.note_progress(sequence)

    def _get_blocks(self, sequence: Sequence, num_new: int, step: ScheduledStep) -> bool:
        """Get blocks for a running sequence, preempting the last ones if need be."""
        while not self._kv.allocate(sequence, num_new):
            self._preempt(self._running[-1], step)
            if sequence.status is not SequenceStatus.RUNNING:
                return False
        return True

    def _preempt(self, victim: Sequence, step: ScheduledStep) -> None:
        """Let a sequence wait again, and with it the others of its group."""
        assert self._running[-1] is victim, "the last sequence gives way first"
        group = victim.group
        for sequence in [victim] if group is None else group.sequences:
            step.remove(sequence)
            self.remove(sequence)
        self.add(victim if group is None else group.collapse())
        self._count_preemption(victim)
        self._admission.close()

    def _count_preemption(self, victim: Sequence) -> None:
        self._stats.preemptions += 1
        victim.request.num_preemptions += 1


def _goes_on(sequence: Sequence) -> bool:
    """Whether a sequence decodes, and max_tokens allows another token after the next one."""
    is_decoding = sequence.num_uncomputed_tokens == 0 < sequence.num_generated_tokens
    has_room = sequence.num_generated_tokens + 1 < sequence.request.max_tokens
    return is_decoding and has_room and sequence.group is None
