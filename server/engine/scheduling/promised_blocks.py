"""Counts the blocks that running sequences will need."""

from collections.abc import Collection

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.sequence import Sequence


class PromisedBlocks:
    """Blocks that each running prompt still needs.

    Every running sequence counts as at least one block, which it will need sooner or later.
    """

    def __init__(self, kv: KVCacheManager) -> None:
        self._kv = kv
        self._numbers: dict[Sequence, int] = {}
        self.num_blocks = 0

    def count(self, running: Collection[Sequence]) -> None:
        """Count anew."""
        self._numbers.clear()
        self.num_blocks = len(running)
        for sequence in running:
            if sequence.num_uncomputed_tokens > 1:
                self.update(sequence)

    def add(self, sequence: Sequence) -> None:
        """Count a sequence that has started."""
        self.num_blocks += 1
        self.update(sequence)

    def update(self, sequence: Sequence) -> None:
        """Count what a running prompt needs now."""
        num_missing = self._kv.num_blocks_missing(sequence, sequence.num_uncomputed_tokens)
        self.num_blocks -= self._numbers.get(sequence, 1)
        self._numbers[sequence] = max(1, num_missing)
        self.num_blocks += self._numbers[sequence]
