"""A sequence that waits to be started."""

from dataclasses import dataclass

from server.engine.kv.block_pool import BlockKey
from server.engine.kv.kv_cache_manager import CachedPrefix
from server.engine.sequence import Sequence

__all__ = ["Turn", "Waiter"]

Turn = tuple[int, ...]
"""Smaller ones go first."""

NOTHING_CACHED = CachedPrefix()


@dataclass(eq=False, slots=True)
class Waiter:
    """A waiting sequence and what is known about it.

    `next_key` is its first block that is not cached. `num_free_blocks` is how many free blocks it
    needed when it last failed to start, among them cached blocks that no sequence uses. A waiter
    that is held back has no place in the order. `turn` is the one among those of its client; it
    begins with 0 if the sequence is overdue.
    """

    sequence: Sequence
    cached: CachedPrefix = NOTHING_CACHED
    next_key: BlockKey | None = None
    num_free_blocks: int = 0
    turn: Turn = ()
    is_held_back: bool = False
