"""The sequences that wait to be started, in the order of their turns."""

from collections.abc import Sequence as Items
from itertools import islice

from server.engine.kv.block_pool import BlockKey
from server.engine.kv.kv_cache_manager import CachedPrefix, KVCacheManager
from server.engine.scheduling.client_lines import ClientLines
from server.engine.scheduling.overdue import Overdue
from server.engine.scheduling.patience import Patience
from server.engine.scheduling.waiter import Turn, Waiter
from server.engine.sequence import Sequence

MAX_UPDATES = 32
"""So many sequences are brought up to date at once: thousands may wait for the same prefix."""


class WaitingQueue:
    """Sequences without blocks, in a line for each client; no operation visits them one by one.

    The cached prefix is looked up when a sequence comes. From then on the queue watches for the
    first block that is missing: only sequences whose block was registered are looked up again.
    Evicted blocks are not noticed, so what is known is an estimate until the sequence starts.
    """

    def __init__(self, kv: KVCacheManager, patience: Patience) -> None:
        self._kv = kv
        self._patience = patience
        self._waiters: dict[Sequence, Waiter] = {}
        self._lines = ClientLines()
        self._set_aside: list[Waiter] = []
        self._watching: dict[BlockKey, dict[Sequence, None]] = {}
        self._changed: dict[Sequence, None] = {}
        self._overdue = Overdue(patience.clock)
        kv.on_registered = self._note_registered

    def __len__(self) -> int:
        return len(self._waiters)

    def first(self) -> Waiter | None:
        """The waiter that goes first; None if there is none, or all are held back."""
        return self._lines.first()

    def rank(self, sequence: Sequence, turn: Turn, best_priority: int) -> Turn:
        """The turn of a sequence among those of all clients; see ClientLines.rank."""
        return self._lines.rank(sequence, turn, best_priority)

    def best_priority(self, readers: Items[Sequence]) -> int:
        """The lowest priority of what waits and of running prompts."""
        return self._lines.best_priority(readers)

    @property
    def has_new_client(self) -> bool:
        """Whether one of several clients has begun to wait since `settle`."""
        return self._lines.has_new_client

    def settle(self, running: Items[Sequence]) -> None:
        """Count for each client what was computed until now."""
        self._lines.settle(running)

    def charge(self, sequence: Sequence) -> None:
        """Count for its client what was computed for a sequence that stops running."""
        self._lines.charge(sequence)

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait."""
        self._waiters[sequence] = waiter = Waiter(sequence)
        self._overdue.add(sequence)
        self._look_up(waiter)
        self._put_in_order(waiter)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence."""
        waiter = self._waiters.pop(sequence)
        self._changed.pop(sequence, None)
        self._overdue.remove(sequence)
        self._stop_watching(waiter)
        if not waiter.is_held_back:
            self._take_from_order(waiter)

    def start(self, sequence: Sequence, num_new: int) -> None:
        """Take a sequence out because it runs now, with its first tokens."""
        self.remove(sequence)
        self._lines.note_start(sequence, num_new)

    def set_aside(self, waiter: Waiter) -> None:
        """Take a waiter out of the order until the next refresh."""
        self.hold_back(waiter.sequence)
        self._set_aside.append(waiter)

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
        """Bring up to date whose prefix is cached further, or who has become overdue.

        If these are many, the others follow next time, except what goes first.
        """
        set_aside, self._set_aside = self._set_aside, []
        for waiter in set_aside:
            if self._waiters.get(waiter.sequence) is waiter:
                self.put_back(waiter.sequence)
        self._changed.update(dict.fromkeys(self._overdue.update()))
        for sequence in list(islice(self._changed, MAX_UPDATES)):
            self._update(sequence)
        while (first := self.first()) is not None and first.sequence in self._changed:
            self._update(first.sequence)

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

    def _update(self, sequence: Sequence) -> None:
        del self._changed[sequence]
        waiter = self._waiters[sequence]
        if not waiter.is_held_back:
            self._take_from_order(waiter)
        self._look_up(waiter)
        if not waiter.is_held_back:
            self._put_in_order(waiter)

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
        waiter.turn = turn_of(waiter.sequence, num_left, self._patience)
        self._lines.put(waiter)

    def _take_from_order(self, waiter: Waiter) -> None:
        self._lines.take(waiter)


def turn_of(sequence: Sequence, num_left: int, patience: Patience) -> Turn:
    """The turn of a prompt that has `num_left` tokens to compute, among those of its client.

    Overdue ones go first, then lower priorities. Within a priority, answers that have begun go
    first, then the prompt that is due first.
    """
    request = sequence.request
    if request.is_overdue:
        return 0, sequence.arrival, sequence.index
    if sequence.num_generated_tokens:
        return 1, request.priority, 0, 0, 0, sequence.arrival, sequence.index
    due_us = round(1e6 * patience.due_s(sequence, num_left))
    return 1, request.priority, 1, due_us, num_left, sequence.arrival, sequence.index
