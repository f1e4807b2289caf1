"""The fixed set of KV blocks: free list, reference counts, and the index of cached prefixes."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from server.engine.sequence import ROOT_PREFIX

LEAST_COMMON = 4
"""A block is worth a copy if this many of its first tokens match."""

TOKEN_BYTES = 8


class BlockContent(NamedTuple):
    """What tells a block from the others behind the same prefix.

    `tokens` are i64, in order; only a first block has a `salt`.
    """

    salt: bytes
    tokens: bytes


BlockKey = tuple[int, BlockContent]
"""What a cached block is found by: the identity of the prefix before it, and its own content."""


class _Entry(NamedTuple):
    """A cached content: the identity of the prefix that ends with it, and all blocks that hold it.

    Lookups find the first of the blocks, in order of registration; the others are its spares.
    """

    identity: int
    blocks: dict[int, None]

    @property
    def first(self) -> int:
        return next(iter(self.blocks))


class BlockPool:
    """Hands out block numbers and remembers which full blocks hold which tokens.

    The key of a cached block includes the whole prefix before it, so a hash collision never lets
    two prefixes share an entry. A content stays findable as long as any block holds it. Of all
    blocks behind a prefix with the same first tokens, full or not, the newest is the copy source
    for a partial match. Free blocks stay cached until they are needed: blocks without content and
    spares are reused first, then the least recently used. Every operation takes constant time.

    `on_freed` is called with a block that has lost its last user.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.on_freed: Callable[[int], None] | None = None
        self._ref_counts = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._entries: dict[BlockKey, _Entry] = {}
        self._key_of_block: dict[int, BlockKey] = {}
        # Here the content of the key is only its first tokens.
        self._by_beginning: dict[BlockKey, tuple[int, bytes]] = {}
        self._beginning_of_block: dict[int, BlockKey] = {}
        self._next_prefix = ROOT_PREFIX + 1

    @property
    def num_free(self) -> int:
        """Blocks that can be handed out now; cached ones that nobody uses count as free."""
        return len(self._free)

    @property
    def num_cached(self) -> int:
        """Contents that a prefix lookup can find."""
        return len(self._entries)

    def ref_count(self, block: int) -> int:
        """How many sequences use the block."""
        return self._ref_counts[block]

    def is_cached(self, block: int) -> bool:
        """Whether the block holds a content that a lookup could find."""
        return block in self._key_of_block

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks for one user each; their former contents are forgotten."""
        assert count <= len(self._free), "the caller checks num_free"
        blocks = []
        for _ in range(count):
            block, _ = self._free.popitem(last=False)
            self._ref_counts[block] = 1
            blocks.append(block)
        self.forget(blocks)
        return blocks

    def acquire(self, block: int) -> None:
        """Add one user to a block that is in use or cached."""
        if self._ref_counts[block] == 0:
            del self._free[block]
        self._ref_counts[block] += 1

    def release(self, block: int) -> None:
        """Take one user from a block; without users it is free, and stays cached until reused."""
        assert self._ref_counts[block] > 0, "released more often than acquired"
        self._ref_counts[block] -= 1
        if self._ref_counts[block] == 0:
            self._free[block] = None
            if not self._is_worth_keeping(block):
                self._free.move_to_end(block, last=False)
            if self.on_freed is not None:
                self.on_freed(block)

    def lookup(self, prefix: int, content: BlockContent) -> tuple[int, int] | None:
        """The full block of that content after `prefix`, and the identity of that longer prefix."""
        entry = self._entries.get((prefix, content))
        return None if entry is None else (entry.first, entry.identity)

    def find_alike(self, prefix: int, content: BlockContent) -> tuple[int, int] | None:
        """A block after `prefix` with the first tokens of `content`, and the tokens in common."""
        found = self._by_beginning.get((prefix, _beginning(content)))
        if found is None:
            return None
        block, tokens = found
        return block, _num_common(content.tokens, tokens)

    def register(self, block: int, prefix: int, content: BlockContent) -> int:
        """Make a full block findable; returns the identity of the prefix that ends with it.

        A block whose content is cached already becomes a spare.
        """
        key = (prefix, content)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(self._next_prefix, {})
            self._next_prefix += 1
            self.note_beginning(block, prefix, content)
        entry.blocks[block] = None
        self._key_of_block[block] = key
        return entry.identity

    def note_beginning(self, block: int, prefix: int, content: BlockContent) -> None:
        """Make a block, full or not, the one that `find_alike` finds for its first tokens."""
        beginning = _beginning(content)
        if len(beginning.tokens) < LEAST_COMMON * TOKEN_BYTES:
            return
        self._forget_beginning(block)
        key = (prefix, beginning)
        if key in self._by_beginning:
            former, _ = self._by_beginning[key]
            del self._beginning_of_block[former]
        self._by_beginning[key] = (block, content.tokens)
        self._beginning_of_block[block] = key

    def forget(self, blocks: Iterable[int]) -> None:
        """Remove blocks from the cache; those that are free are reused next."""
        for block in blocks:
            if block in self._free:
                self._free.move_to_end(block, last=False)
            self._forget_content(block)
            self._forget_beginning(block)

    def forget_all(self) -> None:
        """Empty the cache, for example after the contents of the blocks were lost."""
        self._entries.clear()
        self._key_of_block.clear()
        self._by_beginning.clear()
        self._beginning_of_block.clear()

    def _is_worth_keeping(self, block: int) -> bool:
        key = self._key_of_block.get(block)
        is_first = key is not None and self._entries[key].first == block
        return is_first or block in self._beginning_of_block

    def _forget_content(self, block: int) -> None:
        key = self._key_of_block.pop(block, None)
        if key is None:
            return
        blocks = self._entries[key].blocks
        was_first = self._entries[key].first == block
        del blocks[block]
        if not blocks:
            del self._entries[key]
        elif was_first and (spare := self._entries[key].first) in self._free:
            # It was among the next to be reused; now it is the only one that lookups find.
            self._free.move_to_end(spare)

    def _forget_beginning(self, block: int) -> None:
        key = self._beginning_of_block.pop(block, None)
        if key is not None:
            del self._by_beginning[key]


def _beginning(content: BlockContent) -> BlockContent:
    return BlockContent(content.salt, content.tokens[: LEAST_COMMON * TOKEN_BYTES])


def _num_common(one: bytes, other: bytes) -> int:
    length = min(len(one), len(other)) // TOKEN_BYTES
    differences = np.frombuffer(one, np.int64, length) != np.frombuffer(other, np.int64, length)
    return int(differences.argmax()) if differences.any() else length
