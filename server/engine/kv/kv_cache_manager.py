"""Which blocks each sequence uses: allocation, prefix reuse, sharing with copy on write."""

from collections.abc import Callable
from typing import NamedTuple

from server.engine.kv.block_pool import BlockContent, BlockKey, BlockPool
from server.engine.sequence import ROOT_PREFIX, Sequence

BlockCopy = tuple[int, int]
"""A block whose contents must be copied before the next step: (source, destination)."""


class CachedPrefix(NamedTuple):
    """How many of a sequence's first blocks are in the cache, and the identity of that prefix.

    Computing can go on after the first `num_usable_blocks` of them: all, unless the model has
    states too.
    """

    num_blocks: int = 0
    identity: int = ROOT_PREFIX
    num_usable_blocks: int = 0


class KVCacheManager:
    """The block tables of all sequences over one BlockPool; a block holds `block_size` tokens.

    `on_registered` is called with the key of every block that becomes findable.
    """

    def __init__(self, num_blocks: int, block_size: int, enable_prefix_caching: bool) -> None:
        self.pool = BlockPool(num_blocks)
        self.block_size = block_size
        self.enable_prefix_caching = enable_prefix_caching
        self.on_registered: Callable[[BlockKey], None] | None = None
        self._pending_copies: list[BlockCopy] = []

    @property
    def num_free_blocks(self) -> int:
        """Blocks that a sequence can get now."""
        return self.pool.num_free

    @property
    def num_used_blocks(self) -> int:
        """Blocks that sequences hold."""
        return self.pool.num_blocks - self.pool.num_free

    @property
    def sharing_size(self) -> int:
        """Other sequences can go on from the multiples of so many tokens of a running one."""
        return self.block_size

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)

    def num_tokens_in(self, num_blocks: int) -> int:
        """Tokens that full blocks hold."""
        return num_blocks * self.block_size

    def next_block_key(self, sequence: Sequence, cached: CachedPrefix) -> BlockKey | None:
        """The key of the block after a cached prefix; None where nothing more can be cached."""
        if cached.num_blocks >= self._num_findable_tokens(sequence) // self.block_size:
            return None
        return cached.identity, self._content(sequence, cached.num_blocks)

    def extend_cached_prefix(
        self, sequence: Sequence, cached: CachedPrefix
    ) -> tuple[CachedPrefix, BlockKey | None]:
        """Extend a known prefix by what else is cached; also returns the first key that is not.

        No block is taken.
        """
        while (key := self.next_block_key(sequence, cached)) is not None:
            found = self.pool.lookup(*key)
            if found is None:
                break
            cached = self._longer(cached, found[1])
        return cached, key

    def attach_cached_prefix(self, sequence: Sequence) -> int:
        """Let a sequence without blocks use the cached ones of its longest known prefix.

        On a partial hit, the block after them begins with a copy of a cached block's first tokens.
        At least one token stays to be computed, for its logits. Returns the tokens found.
        """
        assert sequence.block_table.size == 0, "prefixes are looked up before anything is computed"
        for block, prefix in self._usable_blocks(sequence):
            self.pool.acquire(block)
            sequence.block_table.append(block)
            sequence.prefix = prefix
        sequence.num_registered_blocks = sequence.block_table.size
        sequence.num_computed_tokens = sequence.block_table.size * self.block_size
        self._begin_with_copy(sequence)
        return sequence.num_computed_tokens

    def cached_prefix(self, sequence: Sequence) -> CachedPrefix:
        """What `attach_cached_prefix` has found, if nothing was computed since."""
        num_blocks = sequence.num_registered_blocks
        return CachedPrefix(num_blocks, sequence.prefix, num_blocks)

    def num_blocks_missing(self, sequence: Sequence, num_new_tokens: int) -> int:
        """Free blocks that computing the next `num_new_tokens` tokens would take."""
        end = sequence.num_computed_tokens + num_new_tokens
        missing = max(0, self.num_blocks_for(end) - sequence.block_table.size)
        return missing + self._is_next_write_shared(sequence)

    def allocate(self, sequence: Sequence, num_new_tokens: int) -> bool:
        """Make room for the next `num_new_tokens` tokens; False, and no change, without room."""
        missing = self.num_blocks_missing(sequence, num_new_tokens)
        if missing == 0:
            return True
        if missing > self.pool.num_free:
            return False
        if self._is_next_write_shared(sequence):
            self._copy_on_write(sequence)
            missing -= 1
        sequence.block_table.extend(self.pool.allocate(missing))
        return True

    def register_computed_blocks(self, sequence: Sequence) -> None:
        """Make the sequence's newly filled blocks findable for others."""
        if not self.enable_prefix_caching:
            return
        num_full = sequence.num_computed_tokens // self.block_size
        for position in range(sequence.num_registered_blocks, num_full):
            self._register(sequence, position)
        sequence.num_registered_blocks = max(num_full, sequence.num_registered_blocks)

    def keep_tail(self, sequence: Sequence) -> None:
        """Let others copy the filled part of the last block of a sequence that ends."""
        position, num_tokens = divmod(sequence.num_computed_tokens, self.block_size)
        is_known = position == sequence.num_registered_blocks
        if num_tokens == 0 or not (self.enable_prefix_caching and is_known):
            return
        block = sequence.block_table[position]
        if all(block != destination for _, destination in self._pending_copies):
            content = self._content(sequence, position, num_tokens)
            self.pool.note_beginning(block, sequence.prefix, content)

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """Let `child`, which has the same tokens, share the blocks that `parent` has written to.

        Blocks that are reserved for the parent's next tokens are not shared.
        """
        for block in parent.block_table.view(end=self.num_blocks_for(parent.num_computed_tokens)):
            self.pool.acquire(int(block))
            child.block_table.append(int(block))
        child.num_computed_tokens = parent.num_computed_tokens
        child.num_registered_blocks = parent.num_registered_blocks
        child.prefix = parent.prefix
        child.has_shared_tail = parent.has_shared_tail = True

    def free(self, sequence: Sequence) -> None:
        """Give back all blocks, the last first: the start of a prefix is kept longest."""
        for block in sequence.block_table.view()[::-1]:
            self.pool.release(int(block))
        sequence.reset_computed()

    def take_pending_copies(self) -> list[BlockCopy]:
        """Take the list of copies to do before the next step."""
        copies, self._pending_copies = self._pending_copies, []
        return copies

    def forget_blocks(self, blocks: list[int]) -> None:
        """Remove blocks from the cache because their contents may be wrong."""
        self.pool.forget(blocks)

    def forget_prefixes(self) -> None:
        """Remove all blocks from the cache because their contents are lost."""
        self.pool.forget_all()
        self._pending_copies.clear()

    def _register(self, sequence: Sequence, position: int) -> None:
        """Make one block findable; those before it are."""
        key = sequence.prefix, self._content(sequence, position)
        sequence.prefix = self.pool.register(sequence.block_table[position], *key)
        if self.on_registered is not None:
            self.on_registered(key)

    def _longer(self, cached: CachedPrefix, identity: int) -> CachedPrefix:
        """A cached prefix with one more block, which has this identity."""
        return CachedPrefix(cached.num_blocks + 1, identity, cached.num_blocks + 1)

    def _usable_blocks(self, sequence: Sequence) -> list[tuple[int, int]]:
        """The cached blocks after which computing can go on, and the prefix each one ends."""
        blocks: list[tuple[int, int]] = []
        cached = CachedPrefix()
        while (key := self.next_block_key(sequence, cached)) is not None:
            found = self.pool.lookup(*key)
            if found is None:
                break
            blocks.append(found)
            cached = CachedPrefix(len(blocks), found[1])
        return blocks

    def _num_findable_tokens(self, sequence: Sequence) -> int:
        """Tokens that may come from the cache; never the last one, whose logits are needed."""
        if not self.enable_prefix_caching or sequence.unread_prompt_logprobs is not None:
            return 0
        return sequence.num_tokens - 1

    def _content(
        self, sequence: Sequence, position: int, num_tokens: int | None = None
    ) -> BlockContent:
        """The content of a block of a sequence, or of its first `num_tokens` tokens."""
        start = position * self.block_size
        end = start + (self.block_size if num_tokens is None else num_tokens)
        salt = b"" if position else sequence.prefix_salt
        return BlockContent(salt, sequence.token_ids.view(start, end).tobytes())

    def _begin_with_copy(self, sequence: Sequence) -> None:
        """Copy the first tokens of the next block from a cached block that has the same ones."""
        position = sequence.block_table.size
        num_left = self._num_findable_tokens(sequence) - sequence.num_computed_tokens
        if num_left <= 0 or self.pool.num_free == 0:
            return
        content = self._content(sequence, position, min(num_left, self.block_size))
        found = self.pool.find_alike(sequence.prefix, content)
        if found is None:
            return
        source, num_common = found
        # The pool may hand out the source itself; then no copy is needed.
        (own,) = self.pool.allocate(1)
        if own != source:
            self._pending_copies.append((source, own))
        sequence.block_table.append(own)
        sequence.num_computed_tokens += num_common

    def _is_next_write_shared(self, sequence: Sequence) -> bool:
        if not sequence.has_shared_tail:
            return False
        position, offset = divmod(sequence.num_computed_tokens, self.block_size)
        return offset > 0 and self.pool.ref_count(sequence.block_table[position]) > 1

    def _copy_on_write(self, sequence: Sequence) -> None:
        position = sequence.num_computed_tokens // self.block_size
        shared = sequence.block_table[position]
        (own,) = self.pool.allocate(1)
        self._pending_copies.append((shared, own))
        self.pool.release(shared)
        sequence.block_table[position] = own
        sequence.has_shared_tail = False
