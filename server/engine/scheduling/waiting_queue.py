"""The sequences that wait to be started: what is known of them, and who has waited long enough."""

from collections.abc import Iterator
from dataclasses import dataclass

from server.engine.kv.kv_cache_manager import CachedPrefix, KVCacheManager
from server.engine.sequence import Sequence

MAX_BYPASSES = 64
"""How many that came later may start before a request; then it goes first, whatever the others."""


@dataclass(slots=True)
class _Known:
    """What the cache has of a sequence, and the free blocks that it last took to start it, if any.

    Blocks that are cached, but used by nobody, are free until the sequence takes them.
    """

    cached: CachedPrefix
    num_free_blocks: int = 0


class WaitingQueue:
    """Sequences without blocks, with what is known of them before they are tried.

    The cached prefix is looked up when a sequence comes, and from then on only where it might go
    on: a prompt may have a thousand blocks. Blocks that were taken away meanwhile are not missed,
    so that what is said of a sequence is an estimate until it is started.
    """

    def __init__(self, kv: KVCacheManager) -> None:
        self._kv = kv
        self._known: dict[Sequence, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._known)

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait."""
        self._known[sequence] = _Known(self._kv.extend_cached_prefix(sequence, CachedPrefix()))

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence."""
        del self._known[sequence]

    def refresh(self) -> None:
        """See whether more has been cached of what the sequences begin with."""
        for sequence, known in self._known.items():
            cached = self._kv.extend_cached_prefix(sequence, known.cached)
            if cached is not known.cached:
                self._known[sequence] = _Known(cached)

    def note_failed_start(self, sequence: Sequence, cached: CachedPrefix, num_blocks: int) -> None:
        """What a sequence really found in the cache, and the free blocks that it would take."""
        self._known[sequence] = _Known(cached, num_blocks)

    def num_cached_tokens(self, sequence: Sequence) -> int:
        """About how many tokens the cache has."""
        return self._kv.num_tokens_in(self._known[sequence].cached.num_blocks)

    def num_uncached_tokens(self, sequence: Sequence) -> int:
        """About how many tokens are to be computed when the sequence is started."""
        return sequence.num_tokens - self.num_cached_tokens(sequence)

    def num_free_blocks_needed(self, sequence: Sequence) -> int:
        """Free blocks without which the sequence cannot be started, as far as is known."""
        num_uncached = self._kv.num_blocks_for(self.num_uncached_tokens(sequence))
        return max(num_uncached, self._known[sequence].num_free_blocks)

    def start(self, sequence: Sequence) -> None:
        """Take a sequence out because it runs now, which those who came earlier remember."""
        self.remove(sequence)
        for other in self._known:
            if other.arrival < sequence.arrival:
                other.request.num_bypasses += 1


def is_overdue(sequence: Sequence) -> bool:
    """Whether so many were started before a sequence that none may be any more."""
    return sequence.request.num_bypasses >= MAX_BYPASSES
