"""Decides, step by step, which tokens of which sequences are computed next."""

from bisect import insort
from dataclasses import dataclass, field

from server.engine.kv_cache_manager import BlockCopy, KVCacheManager
from server.engine.prefix_sharing import PrefixSharing
from server.engine.sequence import Sequence, SequenceStatus
from server.engine.stats import EngineStats


@dataclass(slots=True)
class ScheduledStep:
    """One step: for each sequence the number of its next tokens to compute.

    `copies` are block copies to do first.
    """

    sequences: list[Sequence] = field(default_factory=list)
    num_new_tokens: list[int] = field(default_factory=list)
    copies: list[BlockCopy] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole step."""
        return sum(self.num_new_tokens)

    @property
    def num_prompt_rows(self) -> int:
        """Tokens whose logits are needed only for what they say of the prompt."""
        pairs = zip(self.sequences, self.num_new_tokens, strict=True)
        return sum(num for sequence, num in pairs if sequence.unread_prompt_logprobs is not None)

    def add(self, sequence: Sequence, num_new_tokens: int) -> None:
        """Put the next tokens of a sequence into the step."""
        self.sequences.append(sequence)
        self.num_new_tokens.append(num_new_tokens)


class Scheduler:
    """First come, first served within a priority, with a token budget for each step.

    There are no prefill and decode phases: every step first takes one token of each decoding
    sequence, then goes on with prompts in chunks (Sarathi-Serve, arXiv 2403.02310; FastGen's
    Dynamic SplitFuse). When blocks run out the last sequence gives its own back and is computed
    again later. The first sequence always gets what it needs, so everything ends. A lower priority
    goes first; it never takes the place of what runs already, except where blocks run out.

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
    ) -> None:
        self._kv = kv
        self._budget = max_num_batched_tokens
        # Every running sequence must fit a step with one token, or the last ones would starve.
        self._max_num_seqs = min(max_num_seqs, max_num_batched_tokens)
        self._split_fuse = dynamic_split_fuse
        self._max_num_prompt_rows = max_num_prompt_rows
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []
        self._sharing = PrefixSharing(kv.block_size, kv.enable_prefix_caching)
        self._stats = stats

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
        sequence.status = SequenceStatus.WAITING
        insort(self._waiting, sequence, key=_order)

    def add_fork(self, parent: Sequence, child: Sequence) -> None:
        """Run `child`, a further choice of the parent's request, from where the parent is."""
        self._kv.fork(parent, child)
        child.status = SequenceStatus.RUNNING
        child.has_started = True
        insort(self._running, child, key=_order)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is, and free its blocks."""
        if sequence.status is SequenceStatus.RUNNING:
            self._running.remove(sequence)
        elif sequence.status is SequenceStatus.WAITING:
            self._waiting.remove(sequence)
            self._sharing.forget(sequence)
        self._kv.free(sequence)
        sequence.status = SequenceStatus.FINISHED

    def schedule(self) -> ScheduledStep:
        """The next step; empty only if there is no work."""
        step = ScheduledStep()
        num_preemptions = self._stats.preemptions
        if self._split_fuse:
            self._schedule_decodes(step)
        self._continue_prompts(step)
        # What was just preempted would be started again at once, to be preempted again.
        if self._stats.preemptions == num_preemptions:
            self._admit(step)
        if not step.sequences:
            self._schedule_decodes(step)
        step.copies = self._kv.take_pending_copies()
        return step

    def _schedule_decodes(self, step: ScheduledStep) -> None:
        for sequence in [s for s in self._running if s.num_uncomputed_tokens == 1]:
            # A sequence later in the list may have been preempted for an earlier one.
            if sequence.status is SequenceStatus.RUNNING and self._reserve(sequence, 1, step):
                step.add(sequence, 1)

    def _continue_prompts(self, step: ScheduledStep) -> None:
        for sequence in [s for s in self._running if s.num_uncomputed_tokens > 1]:
            num_new = min(self._chunk_size(sequence, step), self._budget - step.num_tokens)
            is_running = sequence.status is SequenceStatus.RUNNING
            if is_running and num_new > 0 and self._reserve(sequence, num_new, step):
                step.add(sequence, num_new)

    def _chunk_size(self, sequence: Sequence, step: ScheduledStep) -> int:
        """Tokens of a prompt that may be computed in one step, whatever the budget."""
        if sequence.unread_prompt_logprobs is None:
            return sequence.num_uncomputed_tokens
        return min(sequence.num_uncomputed_tokens, self._max_num_prompt_rows - step.num_prompt_rows)

    def _admit(self, step: ScheduledStep) -> None:
        """Start waiting sequences while the budget, the seats and the blocks allow."""
        num_seats = self._max_num_seqs - sum(_num_seats(s) for s in self._running)
        for sequence in self._waiting.copy():
            if self._sharing.is_waiting(sequence):
                continue
            if self._budget <= step.num_tokens or _num_seats(sequence) > num_seats:
                break
            # What is taken from the cache is not computed, and has no logits.
            if sequence.unread_prompt_logprobs is None:
                self._kv.attach_cached_prefix(sequence)
            if self._sharing.wait(sequence, self._running):
                self._stats.prefix_waits += 1
                self._kv.free(sequence)
                continue
            if not self._try_to_start(sequence, step):
                self._kv.free(sequence)
                break
            num_seats -= _num_seats(sequence)

    def _try_to_start(self, sequence: Sequence, step: ScheduledStep) -> bool:
        """Run a waiting sequence, if its first tokens fit the step and all of it the blocks."""
        budget = self._budget - step.num_tokens
        num_new = self._chunk_size(sequence, step)
        if self._split_fuse:
            num_new = min(num_new, budget)
        # A preempted sequence may have outgrown the budget; alone in a step it may run.
        fits = 0 < num_new <= budget or not step.sequences
        if not (fits and self._can_start(sequence) and self._kv.allocate(sequence, num_new)):
            return False
        self._start(sequence)
        step.add(sequence, num_new)
        return True

    def _can_start(self, sequence: Sequence) -> bool:
        """Whether the whole sequence fits beside the running ones' next blocks.

        Without that look ahead a sequence would be started only to be preempted soon.
        """
        missing = self._kv.num_blocks_missing(sequence, sequence.num_uncomputed_tokens)
        missing += sequence.num_pending_forks
        return not self._running or missing + len(self._running) <= self._kv.num_free_blocks

    def _start(self, sequence: Sequence) -> None:
        self._waiting.remove(sequence)
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


def _num_seats(sequence: Sequence) -> int:
    return 1 + sequence.num_pending_forks


def _order(sequence: Sequence) -> tuple[int, int, int]:
    return sequence.request.priority, sequence.arrival, sequence.index
