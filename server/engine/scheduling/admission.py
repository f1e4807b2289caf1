"""Decides which waiting sequences start in a step."""

from bisect import insort
from collections import Counter
from itertools import islice
from operator import itemgetter
from time import perf_counter

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.prefix_sharing import PrefixSharing
from server.engine.scheduling.promised_blocks import PromisedBlocks
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.seats import Seats, num_seats
from server.engine.scheduling.step_limits import StepLimits
from server.engine.scheduling.waiter import Turn, Waiter
from server.engine.scheduling.waiting_queue import WaitingQueue, turn_of
from server.engine.sequence import Sequence, SequenceStatus
from server.host.metrics import EngineStats

MAX_SET_ASIDE = 32
"""So many prompts that can have nothing of a step, whatever its budget, are passed over in it."""


class Admission:
    """Starts waiting sequences in their turn, where seats, blocks and the step have room.

    The first one without room ends the admissions of a step, so that small requests do not overtake
    a large one again and again. Only a request of several sequences steps aside, while others of
    its kind have the seats that these may have together. `running` is the scheduler's list; what
    starts is added to it.
    """

    def __init__(
        self,
        kv: KVCacheManager,
        limits: StepLimits,
        max_num_seqs: int,
        dynamic_split_fuse: bool,
        stats: EngineStats,
        running: list[Sequence],
    ) -> None:
        self._kv = kv
        self._limits = limits
        self._seats = Seats(max_num_seqs, running)
        self._split_fuse = dynamic_split_fuse
        self._stats = stats
        self._running = running
        self._waiting = WaitingQueue(kv, limits.patience)
        self._sharing = PrefixSharing(kv.sharing_size, kv.enable_prefix_caching)
        self._is_open = False
        self._best_priority = 0
        self._has_swapped = False
        self._num_free_seats = 0
        self._num_set_aside = 0
        # What waits for the seats of requests of several sequences.
        self._seatless: dict[Sequence, None] = {}
        self._promised = PromisedBlocks(kv)

    @property
    def num_waiting(self) -> int:
        """Sequences without blocks."""
        return len(self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait."""
        sequence.status = SequenceStatus.WAITING
        self._waiting.add(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a waiting sequence."""
        self._seatless.pop(sequence, None)
        self._waiting.remove(sequence)
        self._sharing.forget(sequence)

    def charge(self, sequence: Sequence) -> None:
        """Count what was computed for a running sequence that stops."""
        self._waiting.charge(sequence)

    def find_victim(self) -> Sequence | None:
        """A running sequence that has to wait again, so that a client without any can start.

        Only while all seats are taken; it is one of a client that has several, and the one with the
        fewest tokens to compute again.
        """
        if not self._may_swap() or self._seats.count_free() > 0:
            return None
        self._waiting.settle(self._running)
        waiter = self._waiting.first()
        victim = None if waiter is None else self._victim_of(waiter.sequence)
        self._has_swapped = victim is not None
        return victim

    def turns(self, readers: list[Sequence]) -> list[tuple[Turn, Sequence]]:
        """Running prompts in their turn, after `begin`."""
        if len(readers) > 1 and not self._is_open:
            self._waiting.settle(self._running)
        self._best_priority = self._waiting.best_priority(readers)
        return sorted(((self._turn(reader), reader) for reader in readers), key=itemgetter(0))

    def open(self) -> None:
        """Let sequences start in the next step."""
        self._is_open = True

    def close(self) -> None:
        """Start nothing more in this step.

        A sequence that was just preempted would start again at once, and be preempted again.
        """
        self._is_open = False

    def begin(self, step: ScheduledStep) -> None:
        """Count the seats and blocks of the running sequences, before anything starts in a step."""
        self._num_free_seats = self._seats.count_free()
        self._num_set_aside = 0
        if not self._waiting or self._num_free_seats <= 0 or self._limits.is_full(step):
            self._is_open = False
        if not self._is_open:
            return
        self._update_waiting()
        self._promised.count(self._running)
        if self._running and self._promised.num_blocks >= self._kv.num_free_blocks:
            self._is_open = False
            return
        self._sharing.set_readers(self._running)

    def note_progress(self, sequence: Sequence) -> None:
        """Update the number of blocks that a running prompt still needs."""
        if self._is_open:
            self._promised.update(sequence)

    def start_before(self, turn: Turn | None, step: ScheduledStep) -> None:
        """Start sequences whose turn comes before the given one; all if it is None."""
        while self._is_open and not self._limits.is_full(step):
            waiter = self._waiting.first()
            if waiter is None or (turn is not None and self._rank(waiter) > turn):
                return
            self._is_open = self._admit(waiter, step)

    def is_blocked(self, num_decoding: int, num_reserved: int = 0) -> bool:
        """Whether certainly nothing can start in a step in which all running sequences decode.

        `num_reserved` free blocks count as taken.
        """
        is_full = self._split_fuse and num_decoding >= self._limits.max_num_batched_tokens
        num_free_seats = self._seats.count_free()
        if not self._waiting or is_full or num_free_seats <= 0:
            return not self._may_swap()
        self._update_waiting()
        waiter = self._waiting.first()
        if waiter is None:
            return True
        if not self._seats.may_have(waiter.sequence):
            # It steps aside for others.
            return False
        if num_seats(waiter.sequence) > num_free_seats:
            return True
        num_blocks = self._waiting.num_free_blocks_needed(waiter)
        num_blocks += waiter.sequence.num_pending_forks
        return num_blocks + num_decoding > self._kv.num_free_blocks - num_reserved

    def _may_swap(self) -> bool:
        return bool(self._waiting) and (self._waiting.has_new_client or self._has_swapped)

    def _victim_of(self, waiting: Sequence) -> Sequence | None:
        numbers = Counter(sequence.request.client for sequence in self._running)
        if numbers[waiting.request.client] or waiting.num_pending_forks:
            return None
        victims = (
            sequence
            for sequence in self._running
            if numbers[sequence.request.client] > 1
            and sequence.request.priority >= waiting.request.priority
            and sequence.group is None
            and not sequence.num_pending_forks
        )
        return min(victims, key=lambda sequence: sequence.num_tokens, default=None)

    def _update_waiting(self) -> None:
        for sequence in self._sharing.release():
            self._waiting.put_back(sequence)
        if any(map(self._seats.may_have, islice(self._seatless, 1))):
            for sequence in self._seatless:
                self._waiting.put_back(sequence)
            self._seatless.clear()
        self._waiting.refresh()
        self._waiting.settle(self._running)

    def _turn(self, reader: Sequence) -> Turn:
        """The turn of a running prompt: an earlier one if a short prompt waits for its prefix."""
        num_left = reader.num_uncomputed_tokens
        num_awaited = self._sharing.num_awaited_tokens(reader)
        if num_awaited is not None:
            num_left = min(num_left, num_awaited)
        turn = turn_of(reader, num_left, self._limits.patience)
        return self._waiting.rank(reader, turn, self._best_priority)

    def _rank(self, waiter: Waiter) -> Turn:
        return self._waiting.rank(waiter.sequence, waiter.turn, self._best_priority)

    def _admit(self, waiter: Waiter, step: ScheduledStep) -> bool:
        """Start a waiting sequence; False if neither it nor a later one may start in this step."""
        sequence = waiter.sequence
        num_cached = self._waiting.num_cached_tokens(waiter)
        has_no_rows = self._limits.chunk_size(sequence, step) == 0
        if has_no_rows or self._limits.must_pause(sequence, num_cached):
            self._waiting.set_aside(waiter)
            self._num_set_aside += 1
            return self._num_set_aside < MAX_SET_ASIDE
        if self._steps_aside(sequence, num_cached):
            self._waiting.hold_back(sequence)
            return True
        if (
            self._limits.room(step, sequence, num_cached) == 0
            or num_seats(sequence) > self._num_free_seats
        ):
            return False
        if not self._fits(sequence, self._waiting.num_free_blocks_needed(waiter)):
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

    def _steps_aside(self, sequence: Sequence, num_cached: int) -> bool:
        """Whether a sequence waits for the seats or for the prefix of another one."""
        if not self._seats.may_have(sequence):
            self._seatless[sequence] = None
            return True
        if sequence.request.is_overdue or not self._sharing.wait(sequence, num_cached):
            return False
        self._stats.prefix_waits += 1
        return True

    def _try_to_start(self, sequence: Sequence, step: ScheduledStep) -> bool:
        """Run a sequence, if its first tokens fit the step and all of it the blocks."""
        room = self._limits.room(step, sequence, sequence.num_computed_tokens)
        num_new = self._limits.chunk_size(sequence, step)
        if self._split_fuse:
            num_new = min(num_new, room)
        # A preempted sequence may have outgrown the budget; alone in a step it may run.
        if num_new == 0 or (num_new > room and step.sequences):
            return False
        num_blocks = self._kv.num_blocks_missing(sequence, sequence.num_uncomputed_tokens)
        if not (self._fits(sequence, num_blocks) and self._kv.allocate(sequence, num_new)):
            return False
        self._start(sequence, num_new)
        step.add(sequence, num_new)
        return True

    def _note_start(self, sequence: Sequence) -> None:
        request = sequence.request
        request.started_s = perf_counter()
        request.num_cached_tokens = sequence.num_computed_tokens
        self._stats.prompt_tokens += sequence.num_prompt_tokens
        self._stats.cached_tokens += request.num_cached_tokens
        if self._kv.enable_prefix_caching:
            self._stats.looked_up_tokens += sequence.num_prompt_tokens

    def _fits(self, sequence: Sequence, num_blocks: int) -> bool:
        """Whether a sequence that takes so many blocks leaves enough for what runs already.

        Otherwise it would be started only to be preempted soon.
        """
        num_blocks += sequence.num_pending_forks
        return (
            not self._running or num_blocks + self._promised.num_blocks <= self._kv.num_free_blocks
        )

    def _start(self, sequence: Sequence, num_new: int) -> None:
        # A prefix that was cached is free.
        sequence.num_charged_tokens = max(sequence.num_charged_tokens, sequence.num_computed_tokens)
        self._waiting.start(sequence, num_new)
        self._sharing.forget(sequence)
        sequence.status = SequenceStatus.RUNNING
        # A preempted sequence finds blocks that it has computed itself; they do not count.
        if not sequence.has_started:
            sequence.has_started = True
            self._note_start(sequence)
            if sequence.request.on_start is not None:
                sequence.request.on_start()
        insort(self._running, sequence, key=running_order)
        self._num_free_seats -= num_seats(sequence)
        self._promised.add(sequence)
        self._sharing.add_reader(sequence)


def running_order(sequence: Sequence) -> tuple[int, ...]:
    """The order of running sequences; the last is preempted first."""
    if sequence.request.is_overdue:
        return 0, sequence.arrival, sequence.index
    return 1, sequence.request.priority, sequence.arrival, sequence.index
