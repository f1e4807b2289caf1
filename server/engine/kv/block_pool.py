"""The fixed set of KV blocks: free list, reference counts, and the index of cached prefixes."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from server.engine.sequence import ROOT_PREFIX

LEAST_COMMON = 4
"""Tokens that a block and what follows a prefix must begin with in common, to be worth a copy."""

TOKEN_BYTES = 8


class BlockContent(NamedTuple):
    """What tells a block from the others behind the same prefix.

    `tokens` are i64, in order; only a first block has a `salt`.
    """

    salt: bytes
    tokens: bytes


class BlockPool:
    """Hands out block numbers and remembers which full blocks hold which tokens.

    A cached block is found by the identity of the prefix before it and its own content, so two
    prefixes never share an entry by a hash collision. Of the blocks behind a prefix that begin with
    the same few tokens, full or not, the latest can also be found by what begins so and goes on
    otherwise. Blocks nobody uses stay cached until they are needed; the least recently used go
    first. Every operation takes constant time.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._ref_counts = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._by_prefix: dict[tuple[int, BlockContent], tuple[int, int]] = {}
        self._key_of_block: dict[int, tuple[int, BlockContent]] = {}
        # By a prefix and the beginning of a content.
        self._by_beginning: dict[tuple[int, BlockContent], tuple[int, bytes]] = {}
        self._beginning_of_block: dict[int, tuple[int, BlockContent]] = {}
        self._next_prefix = ROOT_PREFIX + 1

    @property
    def num_free(self) -> int:
        """Blocks that can be handed out now; cached ones that nobody uses count as free."""
        return len(self._free)

    @property
    def num_cached(self) -> int:
        """Blocks that a prefix lookup can find."""
        return len(self._by_prefix)

    def ref_count(self, block: int) -> int:
        """How many sequences use the block."""
        return self._ref_counts[block]

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks for one user each; what they held is forgotten."""
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
        """Take one user from a block; the last one makes it free, and reusable if it is cached."""
        assert self._ref_counts[block] > 0, "released more often than acquired"
        self._ref_counts[block] -= 1
        if self._ref_counts[block] == 0:
            self._free[block] = None
            if block not in self._key_of_block and block not in self._beginning_of_block:
                self._free.move_to_end(block, last=False)

    def lookup(self, prefix: int, content: BlockContent) -> tuple[int, int] | None:
        """The full block of that content after `prefix`, and the identity of that longer prefix."""
        return self._by_prefix.get((prefix, content))

    def find_alike(self, prefix: int, content: BlockContent) -> tuple[int, int] | None:
        """A block that begins like `content` after `prefix`, and the tokens in common."""
        found = self._by_beginning.get((prefix, _beginning(content)))
        if found is None:
            return None
        block, tokens = found
        return block, _num_common(content.tokens, tokens)

    def register(self, block: int, prefix: int, content: BlockContent) -> int:
        """Make a full block findable; returns the identity of the prefix that ends with it.

        If the same content is cached already, in another block, that entry stays.
        """
        key = (prefix, content)
        known = self._by_prefix.get(key)
        if known is not None:
            return known[1]
        identity = self._next_prefix
        self._next_prefix += 1
        self._by_prefix[key] = (block, identity)
        self._key_of_block[block] = key
        self.note_beginning(block, prefix, content)
        return identity

    def note_beginning(self, block: int, prefix: int, content: BlockContent) -> None:
        """Let `find_alike` find a block, full or not, in place of the one before."""
        beginning = _beginning(content)
        if len(beginning.tokens) < LEAST_COMMON * TOKEN_BYTES:
            return
        self._forget_beginning(block)
        place = (prefix, beginning)
        if place in self._by_beginning:
            former, _ = self._by_beginning[place]
            del self._beginning_of_block[former]
        self._by_beginning[place] = (block, content.tokens)
        self._beginning_of_block[block] = place

    def forget(self, blocks: Iterable[int]) -> None:
        """Let no lookup find these blocks; those that nobody uses are the next to be taken."""
        for block in blocks:
            if block in self._free:
                self._free.move_to_end(block, last=False)
            key = self._key_of_block.pop(block, None)
            if key is not None:
                del self._by_prefix[key]
            self._forget_beginning(block)

    def forget_all(self) -> None:
        """Drop every cached prefix, for example after the contents of the cache were lost."""
        self._by_prefix.clear()
        self._key_of_block.clear()
        self._by_beginning.clear()
        self._beginning_of_block.clear()

    def _forget_beginning(self, block: int) -> None:
        place = self._beginning_of_block.pop(block, None)
        if place is not None:
            del self._by_beginning[place]


def _beginning(content: BlockContent) -> BlockContent:
    return BlockContent(content.salt, content.tokens[: LEAST_COMMON * TOKEN_BYTES])


def _num_common(one: bytes, other: bytes) -> int:
    length = min(len(one), len(other)) // TOKEN_BYTES
    differences = np.frombuffer(one, np.int64, length) != np.frombuffer(other, np.int64, length)
    return int(differences.argmax()) if differences.any() else length
