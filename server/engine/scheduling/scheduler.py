"""Decides, step by step, which tokens of which sequences are computed next."""

from bisect import insort

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.oldest_share import OldestShare
from server.engine.scheduling.prefix_sharing import PrefixSharing
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.waiting_queue import WaitingQueue, is_overdue
from server.engine.sequence import Sequence, SequenceStatus
from server.engine.stats import EngineStats


class Scheduler:
    """Decodes what decodes, and shares what is left of each step's tokens among the prompts.

    There are no prefill and decode phases: every step first takes one token of each decoding
    sequence, then goes on with prompts in chunks (Sarathi-Serve, arXiv 2403.02310; FastGen's
    Dynamic SplitFuse). Prompts of a lower priority number go first; of these, the one with the
    fewest tokens to compute, so that a long prompt holds nobody up. It is not held up either: a
    part of every step belongs to the prompt, among those that have been begun, which came first,
    and a request that too many others have bypassed is started before all others.

    When blocks run out the last sequence gives its own back and is computed again later. The first
    sequence always gets what it needs, so everything ends. A lower priority number never takes the
    place of what runs already, except where blocks run out.

    A step of which all sequences decode, while nobody waits, tells the one after it unless one of
    them ends: `foresee` gives that, to be prepared while the device computes.

    The logits of a whole chunk, which log probabilities of a prompt need, are large: no step has
    more than `max_num_prompt_rows` rows of them, so that such prompts may be read in chunks even
    without `dynamic_split_fuse`.
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
    ) -> None:
        self._kv = kv
        self._budget = max_num_batched_tokens
        # Every running sequence must fit a step with one token, or the last ones would starve.
        self._max_num_seqs = min(max_num_seqs, max_num_batched_tokens)
        self._split_fuse = dynamic_split_fuse
        self._max_num_prompt_rows = max_num_prompt_rows
        self._waiting = WaitingQueue(kv)
        self._running: list[Sequence] = []
        self._oldest_share = OldestShare()
        self._sharing = PrefixSharing(kv.block_size, kv.enable_prefix_caching)
        self._stats = stats
        self._target = target
        self._foreseen: ScheduledStep | None = None

    @property
    def num_waiting(self) -> int:
        """Sequences without blocks."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences with blocks."""
        return len(self._running)

    @property
    def has_work(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self._waiting or self._running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence without blocks."""
        self._foreseen = None
        sequence.status = SequenceStatus.WAITING
        self._waiting.add(sequence)

    def add_fork(self, parent: Sequence, child: Sequence) -> None:
        """Run `child`, a further choice of the parent's request, from where the parent is."""
        self._foreseen = None
        self._kv.fork(parent, child)
        child.status = SequenceStatus.RUNNING
        child.has_started = True
        insort(self._running, child, key=_order)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is, and free its blocks."""
        self._foreseen = None
        if sequence.status is SequenceStatus.RUNNING:
            self._running.remove(sequence)
            self._kv.keep_tail(sequence)
        elif sequence.status is SequenceStatus.WAITING:
            self._waiting.remove(sequence)
            self._sharing.forget(sequence)
        self._kv.free(sequence)
        sequence.status = SequenceStatus.FINISHED

    def discard(self, sequence: Sequence) -> None:
        """Remove a sequence whose blocks may hold what is not good; nobody finds them any more."""
        blocks = sequence.block_table.view().tolist()
        self.remove(sequence)
        self._kv.forget_blocks(blocks)

    def schedule(self) -> ScheduledStep:
        """The next step; empty only if there is no work."""
        step, self._foreseen = self._foreseen or self._compose(), None
        step.copies = self._kv.take_pending_copies()
        return step

    def foresee(self, step: ScheduledStep) -> ScheduledStep | None:
        """What `schedule` returns next if every sequence of this step gets one token; None if that
        is not known.

        Their tokens count as computed already. A sequence that comes or goes until then makes it
        void; the blocks that are reserved for it stay with their sequences.
        """
        if self._waiting or len(step.sequences) != len(self._running):
            return None
        if not all(map(_goes_on, step.sequences)):
            return None
        num_missing = sum(self._kv.num_blocks_missing(s, 1) for s in step.sequences)
        if num_missing > self._kv.num_free_blocks:
            return None
        for sequence in step.sequences:
            self._kv.allocate(sequence, 1)
        self._foreseen = ScheduledStep(step.sequences, [1] * len(step.sequences))
        return self._foreseen

    def _compose(self) -> ScheduledStep:
        step = ScheduledStep()
        num_preemptions = self._stats.preemptions
        # Requests may have become overdue.
        self._running.sort(key=_order)
        if self._split_fuse:
            self._schedule_decodes(step)
        self._target.begin(step.num_tokens, step.context)
        self._schedule_prompts(step, num_preemptions)
        if not step.sequences:
            self._schedule_decodes(step)
        return step

    def _schedule_decodes(self, step: ScheduledStep) -> None:
        for sequence in [s for s in self._running if s.num_uncomputed_tokens == 1]:
            # A sequence later in the list may have been preempted for an earlier one.
            if sequence.status is SequenceStatus.RUNNING and self._reserve(sequence, 1, step):
                step.add(sequence, 1)

    def _schedule_prompts(self, step: ScheduledStep, num_preemptions: int) -> None:
        """Go on with prompts, and start waiting ones, each in its turn until the step is full.

        What was just preempted would be started again at once, to be preempted again: once there
        are more than `num_preemptions`, nothing is started.
        """
        readers = [s for s in self._running if s.num_uncomputed_tokens > 1]
        if readers:
            self._continue_oldest(min(readers, key=lambda s: (s.arrival, s.index)), step)
        may_start = True
        for sequence in self._in_turn(readers):
            if self._budget <= step.num_tokens:
                break
            if sequence.status is SequenceStatus.RUNNING:
                self._continue(sequence, self._room(step, sequence.num_computed_tokens), step)
            elif may_start and self._stats.preemptions == num_preemptions:
                may_start = self._admit(sequence, step)

    def _continue_oldest(self, oldest: Sequence, step: ScheduledStep) -> None:
        """Give the prompt that was begun first its share."""
        room = self._room(step, oldest.num_computed_tokens)
        self._continue(oldest, self._oldest_share.take(oldest, room), step)

    def _room(self, step: ScheduledStep, num_past: int) -> int:
        """Further tokens that a step may have, of a prompt with that past."""
        most = self._budget - step.num_tokens
        return self._target.room(step.num_tokens, step.context, num_past, most)

    def _in_turn(self, readers: list[Sequence]) -> list[Sequence]:
        """The prompts that are being read and those that wait, in the order of their turns."""
        self._waiting.refresh()
        return sorted([*readers, *self._waiting], key=self._turn)

    def _turn(self, sequence: Sequence) -> tuple[int, ...]:
        if is_overdue(sequence):
            return 0, sequence.arrival, sequence.index
        # Somebody is in the middle of reading the answer.
        is_answered = sequence.num_generated_tokens > 0
        num_left = 0 if is_answered else self._num_left(sequence)
        priority = sequence.request.priority
        return 1, priority, not is_answered, num_left, sequence.arrival, sequence.index

    def _num_left(self, sequence: Sequence) -> int:
        """Tokens to compute until the sequence, or one that waits for its prefix, can go on."""
        if sequence.status is SequenceStatus.WAITING:
            return self._waiting.num_uncached_tokens(sequence)
        num_awaited = self._sharing.num_awaited_tokens(sequence)
        num_left = sequence.num_uncomputed_tokens
        return num_left if num_awaited is None else min(num_left, num_awaited)

    def _continue(self, sequence: Sequence, room: int, step: ScheduledStep) -> None:
        """Compute at most `room` further tokens of a running prompt."""
        num_new = min(self._chunk_size(sequence, step), room)
        if num_new > 0 and self._reserve(sequence, step.num_of(sequence) + num_new, step):
            step.add(sequence, num_new)

    def _chunk_size(self, sequence: Sequence, step: ScheduledStep) -> int:
        """Further tokens of a prompt that may be computed in a step, whatever the budget."""
        num_left = sequence.num_uncomputed_tokens - step.num_of(sequence)
        if sequence.unread_prompt_logprobs is None:
            return num_left
        return min(num_left, self._max_num_prompt_rows - step.num_prompt_rows)

    def _admit(self, sequence: Sequence, step: ScheduledStep) -> bool:
        """Start a waiting sequence; False if neither it nor what comes after it may start now."""
        if self._chunk_size(sequence, step) == 0 or self._must_wait(sequence):
            return True
        if self._room(step, self._waiting.num_cached_tokens(sequence)) == 0:
            return False
        num_seats = self._max_num_seqs - sum(_num_seats(s) for s in self._running)
        if _num_seats(sequence) > num_seats:
            return False
        if not self._fits(sequence, self._waiting.num_free_blocks_needed(sequence)):
            return False
        num_free = self._kv.num_free_blocks
        self._kv.attach_cached_prefix(sequence)
        if self._try_to_start(sequence, step):
            return True
        num_blocks = self._kv.num_blocks_missing(sequence, sequence.num_uncomputed_tokens)
        num_blocks += num_free - self._kv.num_free_blocks
        self._waiting.note_failed_start(sequence, self._kv.cached_prefix(sequence), num_blocks)
        self._kv.free(sequence)
        return False

    def _must_wait(self, sequence: Sequence) -> bool:
        """Whether a sequence waits for a prefix that another one is reading."""
        if self._sharing.is_waiting(sequence):
            return True
        num_cached = self._waiting.num_cached_tokens(sequence)
        if is_overdue(sequence) or not self._sharing.wait(sequence, num_cached, self._running):
            return False
        self._stats.prefix_waits += 1
        return True

    def _try_to_start(self, sequence: Sequence, step: ScheduledStep) -> bool:
        """Run a sequence, if its first tokens fit the step and all of it the blocks."""
        room = self._room(step, sequence.num_computed_tokens)
        num_new = self._chunk_size(sequence, step)
        if self._split_fuse:
            num_new = min(num_new, room)
        # A preempted sequence may have outgrown the budget; alone in a step it may run.
        if num_new == 0 or (num_new > room and step.sequences):
            return False
        num_blocks = self._kv.num_blocks_missing(sequence, sequence.num_uncomputed_tokens)
        if not (self._fits(sequence, num_blocks) and self._kv.allocate(sequence, num_new)):
            return False
        self._start(sequence)
        step.add(sequence, num_new)
        return True

    def _fits(self, sequence: Sequence, num_blocks: int) -> bool:
        """Whether a sequence that takes so many blocks fits beside what the running ones need next.

        Without that look ahead a sequence would be started only to be preempted soon.
        """
        num_promised = sum(
            max(1, self._kv.num_blocks_missing(s, s.num_uncomputed_tokens)) for s in self._running
        )
        num_blocks += sequence.num_pending_forks
        return not self._running or num_blocks + num_promised <= self._kv.num_free_blocks

    def _start(self, sequence: Sequence) -> None:
        self._waiting.start(sequence)
        self._sharing.forget(sequence)
        sequence.status = SequenceStatus.RUNNING
        # What a preempted sequence finds again it had computed itself.
        if not sequence.has_started:
            sequence.has_started = True
            sequence.request.num_cached_tokens = sequence.num_computed_tokens
        insort(self._running, sequence, key=_order)

    def _reserve(self, sequence: Sequence, num_new: int, step: ScheduledStep) -> bool:
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
            if sequence in step.sequences:
                position = step.sequences.index(sequence)
                del step.sequences[position], step.num_new_tokens[position]
            self.remove(sequence)
        self.add(victim if group is None else group.collapse())
        self._stats.preemptions += 1


def _goes_on(sequence: Sequence) -> bool:
    """Whether a sequence decodes, and does so after its next token unless that ends it."""
    is_decoding = sequence.num_uncomputed_tokens == 0 < sequence.num_generated_tokens
    has_room = sequence.num_generated_tokens + 1 < sequence.request.max_tokens
    return is_decoding and has_room and sequence.group is None


def _num_seats(sequence: Sequence) -> int:
    return 1 + sequence.num_pending_forks


def _order(sequence: Sequence) -> tuple[int, ...]:
    """Who gives way when blocks run out: the last."""
    if is_overdue(sequence):
        return 0, sequence.arrival, sequence.index
    return 1, sequence.request.priority, sequence.arrival, sequence.index
