"""The sequences that wait to be started, in the order of their turns."""

from bisect import bisect_left, insort
from dataclasses import dataclass
from operator import attrgetter

from server.engine.kv.block_pool import BlockKey
from server.engine.kv.kv_cache_manager import CachedPrefix, KVCacheManager
from server.engine.scheduling.bypass_counts import BypassCounts, is_overdue
from server.engine.sequence import Sequence

Turn = tuple[int, ...]
"""Smaller ones go first."""

NOTHING_CACHED = CachedPrefix()

_by_turn = attrgetter("turn")


@dataclass(eq=False, slots=True)
class Waiter:
    """A waiting sequence and what is known about it.

    `next_key` is its first block that is not cached. `num_free_blocks` is how many free blocks it
    needed when it last failed to start, among them cached blocks that no sequence uses. A waiter
    that is held back has no place in the order.
    """

    sequence: Sequence
    cached: CachedPrefix = NOTHING_CACHED
    next_key: BlockKey | None = None
    num_free_blocks: int = 0
    turn: Turn = ()
    is_held_back: bool = False


class WaitingQueue:
    """Sequences without blocks, sorted by turn; no operation visits them one by one.

    The cached prefix is looked up when a sequence comes. From then on the queue watches for the
    first block that is missing: only sequences whose block was registered are looked up again.
    Evicted blocks are not noticed, so what is known is an estimate until the sequence starts.
    """

    def __init__(self, kv: KVCacheManager) -> None:
        self._kv = kv
        self._waiters: dict[Sequence, Waiter] = {}
        self._order: list[Waiter] = []
        self._watching: dict[BlockKey, dict[Sequence, None]] = {}
        self._changed: dict[Sequence, None] = {}
        self._bypasses = BypassCounts()
        kv.on_registered = self._note_registered

    def __len__(self) -> int:
        return len(self._waiters)

    def at(self, place: int) -> Waiter | None:
        """The waiter at a place of the order; None behind its end. Those held back have none."""
        return self._order[place] if place < len(self._order) else None

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait."""
        self._waiters[sequence] = waiter = Waiter(sequence)
        self._bypasses.add(sequence)
        self._look_up(waiter)
        self._put_in_order(waiter)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence."""
        waiter = self._waiters.pop(sequence)
        self._changed.pop(sequence, None)
        self._bypasses.remove(sequence)
        self._stop_watching(waiter)
        if not waiter.is_held_back:
            self._take_from_order(waiter)

    def start(self, sequence: Sequence) -> None:
        """Take a sequence out because it runs now; earlier requests are bypassed by it."""
        self.remove(sequence)
        # They move to the front at the next refresh, so that the order is fixed during a step.
        self._changed.update(dict.fromkeys(self._bypasses.count_start(sequence.arrival)))

    def hold_back(self, sequence: Sequence) -> None:
        """Take a sequence out of the order for some time."""
        waiter = self._waiters[sequence]
        self._take_from_order(waiter)
        waiter.is_held_back = True

    def put_back(self, sequence: Sequence) -> None:
        """Give a sequence that was held back its turn again."""
        waiter = self._waiters[sequence]
        waiter.is_held_back = False
        self._put_in_order(waiter)

    def refresh(self) -> None:
        """Bring up to date whose prefix is cached further, or who has become overdue."""
        changed, self._changed = self._changed, {}
        for sequence in changed:
            waiter = self._waiters[sequence]
            if not waiter.is_held_back:
                self._take_from_order(waiter)
            self._look_up(waiter)
            if not waiter.is_held_back:
                self._put_in_order(waiter)

    def note_failed_start(self, sequence: Sequence, cached: CachedPrefix, num_blocks: int) -> None:
        """Note the prefix that was really cached, and the free blocks that a start would take."""
        waiter = self._waiters[sequence]
        self._take_from_order(waiter)
        self._stop_watching(waiter)
        waiter.cached, waiter.next_key, waiter.num_free_blocks = cached, None, num_blocks
        self._look_up(waiter)
        self._put_in_order(waiter)

    def num_cached_tokens(self, waiter: Waiter) -> int:
        """About how many tokens are cached."""
        return self._kv.num_tokens_in(waiter.cached.num_usable_blocks)

    def num_free_blocks_needed(self, waiter: Waiter) -> int:
        """Free blocks without which the sequence cannot start, as far as is known."""
        num_uncached = waiter.sequence.num_tokens - self.num_cached_tokens(waiter)
        return max(self._kv.num_blocks_for(num_uncached), waiter.num_free_blocks)

    def _note_registered(self, key: BlockKey) -> None:
        self._changed.update(self._watching.get(key, ()))

    def _look_up(self, waiter: Waiter) -> None:
        """Extend the known prefix by what is cached now, and watch for the block after it."""
        cached, key = self._kv.extend_cached_prefix(waiter.sequence, waiter.cached)
        if cached != waiter.cached:
            waiter.cached, waiter.num_free_blocks = cached, 0
        if key != waiter.next_key:
            self._stop_watching(waiter)
            waiter.next_key = key
            if key is not None:
                self._watching.setdefault(key, {})[waiter.sequence] = None

    def _stop_watching(self, waiter: Waiter) -> None:
        if waiter.next_key is not None:
            watchers = self._watching[waiter.next_key]
            del watchers[waiter.sequence]
            if not watchers:
                del self._watching[waiter.next_key]

    def _put_in_order(self, waiter: Waiter) -> None:
        num_left = waiter.sequence.num_tokens - self.num_cached_tokens(waiter)
        waiter.turn = turn_of(waiter.sequence, num_left)
        insort(self._order, waiter, key=_by_turn)

    def _take_from_order(self, waiter: Waiter) -> None:
        place = bisect_left(self._order, waiter.turn, key=_by_turn)
        assert self._order[place] is waiter, "no two sequences have the same turn"
        del self._order[place]


def turn_of(sequence: Sequence, num_left: int) -> Turn:
    """The turn of a prompt that has `num_left` tokens to compute.

    Overdue ones go first, then lower priorities. Within a priority, answers that have begun go
    first, then the prompt with the fewest tokens left.
    """
    if is_overdue(sequence):
        return 0, sequence.arrival, sequence.index
    priority, is_answered = sequence.request.priority, sequence.num_generated_tokens > 0
    num_left = 0 if is_answered else num_left
    return 1, priority, not is_answered, num_left, sequence.arrival, sequence.index
