"""The fixed set of KV blocks: free list, reference counts, and the index of cached prefixes."""

from collections import OrderedDict

ROOT_PREFIX = 0


class BlockPool:
    """Hands out block numbers and remembers which full blocks hold which tokens.

    A cached block is found by the identity of the prefix before it and the bytes of its own tokens,
    so two prefixes never share an entry by a hash collision. Blocks nobody uses stay cached until
    they are needed; the least recently used go first. Every operation takes constant time.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._ref_counts = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._by_prefix: dict[tuple[int, bytes], tuple[int, int]] = {}
        self._key_of_block: dict[int, tuple[int, bytes]] = {}
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
            self._forget(block)
            self._ref_counts[block] = 1
            blocks.append(block)
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
            if block not in self._key_of_block:
                self._free.move_to_end(block, last=False)

    def lookup(self, prefix: int, tokens: bytes) -> tuple[int, int] | None:
        """The block that holds `tokens` after `prefix`, and the identity of that longer prefix."""
        return self._by_prefix.get((prefix, tokens))

    def register(self, block: int, prefix: int, tokens: bytes) -> int:
        """Make a full block findable; returns the identity of the prefix that ends with it.

        If the same content is cached already, in another block, that entry stays.
        """
        key = (prefix, tokens)
        known = self._by_prefix.get(key)
        if known is not None:
            return known[1]
        identity = self._next_prefix
        self._next_prefix += 1
        self._by_prefix[key] = (block, identity)
        self._key_of_block[block] = key
        return identity

    def forget_all(self) -> None:
        """Drop every cached prefix, for example after the contents of the cache were lost."""
        self._by_prefix.clear()
        self._key_of_block.clear()

    def _forget(self, block: int) -> None:
        key = self._key_of_block.pop(block, None)
        if key is not None:
            del self._by_prefix[key]
