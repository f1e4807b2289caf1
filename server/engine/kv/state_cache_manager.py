"""Block tables and state blocks of models that have states: convolutions, linear attention."""

from dataclasses import dataclass

from server.engine.kv.block_pool import BlockContent, BlockPool
from server.engine.kv.kv_cache_manager import CachedPrefix, KVCacheManager
from server.engine.sequence import Sequence, StateBlocks


@dataclass(frozen=True, slots=True)
class StateLayout:
    """The state blocks of an engine.

    The first `num_blocks` are for `max_num_seqs` sequences and for checkpoints. Checkpoints can be
    at multiples of `least_interval` tokens only; 0 means that there are none. Every multiple of
    `interval` tokens has one.
    """

    num_blocks: int = 0
    max_num_seqs: int = 0
    interval: int = 0
    least_interval: int = 0

    @property
    def spare_block(self) -> int:
        """The block that gets states which nothing reads."""
        return self.num_blocks

    @property
    def zero_block(self) -> int:
        """The block that holds the states before the first token, and is never written."""
        return self.num_blocks + 1


NO_STATE_BLOCKS = StateLayout()

STATE = BlockContent(b"", b"")
"""A prefix has one state; the identity of the prefix is all of its key."""


class StateCacheManager(KVCacheManager):
    """A KVCacheManager that also hands out state blocks.

    A state block holds all states of a sequence after some number of its tokens. KV of more tokens
    is added to a cache; a state is replaced. A step reads a sequence's current block and writes the
    states after its last token to another one, or to the same where nothing else needs it. So
    sequences that fork share a block until their next step, and nothing is ever copied.

    The prefix cache can only be used where a state was kept. Checkpoints are kept after every
    `interval` tokens, a multiple of the block size, and after the last full block of a prompt.
    One is also kept where a prompt departs from a cached prefix, as later ones may depart there.
    Checkpoints are blocks of the pool like cached KV blocks, found by the identity of the prefix
    they follow, and the least recently used ones are overwritten.

    Each running sequence always gets the two blocks that it needs, so that state blocks never run
    out; only what is left is for checkpoints.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        enable_prefix_caching: bool,
        layout: StateLayout,
    ) -> None:
        super().__init__(num_blocks, block_size, enable_prefix_caching)
        self.states = BlockPool(layout.num_blocks)
        self.layout = layout
        self._num_free_checkpoints = layout.num_blocks - 2 * layout.max_num_seqs
        assert self._num_free_checkpoints >= 0, "each sequence needs two blocks"

    @property
    def sharing_size(self) -> int:
        """Other sequences can go on from the checkpoints."""
        return self.layout.interval

    def attach_cached_prefix(self, sequence: Sequence) -> int:
        """As KVCacheManager does, up to the last checkpoint."""
        known, _ = self.extend_cached_prefix(sequence, CachedPrefix())
        num_tokens = super().attach_cached_prefix(sequence)
        current = self.layout.zero_block
        if num_tokens:
            current = self._checkpoint(sequence.prefix)
            self.states.acquire(current)
        num_known_tokens = self.num_tokens_in(known.num_blocks)
        sequence.states = StateBlocks(current, current, num_known_tokens)
        return num_tokens

    def allocate(self, sequence: Sequence, num_new_tokens: int) -> bool:
        """As KVCacheManager does; there are always enough state blocks."""
        if not super().allocate(sequence, num_new_tokens):
            return False
        begin = sequence.num_computed_tokens
        self._reserve_checkpoints(sequence, begin, begin + num_new_tokens)
        self._reserve_following(sequence)
        return True

    def register_computed_blocks(self, sequence: Sequence) -> None:
        """Also makes the new checkpoints findable, and the following state the current one."""
        super().register_computed_blocks(sequence)
        states = _states_of(sequence)
        self._release_checkpoints(states)
        if states.current != states.following:
            self._release(states.current)
            states.current = states.following

    def keep_tail(self, sequence: Sequence) -> None:
        """Nothing can go on in the middle of a block, where no state is kept."""

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """Let `child` share the blocks that `parent` has written to, and its current state."""
        super().fork(parent, child)
        current = _states_of(parent).current
        self._acquire(current)
        child.states = StateBlocks(current, current)

    def free(self, sequence: Sequence) -> None:
        """Give back all blocks."""
        states = sequence.states
        if states is not None:
            self._release_checkpoints(states)
            for block in states.blocks:
                self._release(block)
        super().free(sequence)

    def forget_blocks(self, blocks: list[int]) -> None:
        """Also forgets all checkpoints, which are not known one by one."""
        super().forget_blocks(blocks)
        self.states.forget_all()

    def forget_prefixes(self) -> None:
        """Also forgets all checkpoints."""
        super().forget_prefixes()
        self.states.forget_all()

    def _reserve_checkpoints(self, sequence: Sequence, begin: int, end: int) -> None:
        """Have a block for each checkpoint between two numbers of tokens, as far as they last."""
        states = _states_of(sequence)
        if not self.enable_prefix_caching:
            return
        first = (begin // self.block_size + 1) * self.block_size
        for position in range(first, end, self.block_size):
            if position in states.checkpoints or not self._is_checkpoint(sequence, position):
                continue
            if self._num_free_checkpoints == 0:
                return
            self._num_free_checkpoints -= 1
            (states.checkpoints[position],) = self.states.allocate(1)

    def _reserve_following(self, sequence: Sequence) -> None:
        """Have a block for the states after the next step; not one that anything else needs."""
        states = _states_of(sequence)
        if states.following == states.current and not self._is_own(states.current):
            (states.following,) = self.states.allocate(1)

    def _is_own(self, block: int) -> bool:
        if block == self.layout.zero_block:
            return False
        return self.states.ref_count(block) == 1 and not self.states.is_cached(block)

    def _is_checkpoint(self, sequence: Sequence, position: int) -> bool:
        last_of_prompt = (sequence.num_prompt_tokens - 1) // self.block_size * self.block_size
        ends = last_of_prompt, _states_of(sequence).num_known_tokens
        return position % self.layout.interval == 0 or position in ends

    def _register(self, sequence: Sequence, position: int) -> None:
        super()._register(sequence, position)
        states = _states_of(sequence)
        num_tokens = self.num_tokens_in(position + 1)
        block = states.checkpoints.get(num_tokens)
        if num_tokens == sequence.num_computed_tokens and self._is_checkpoint(sequence, num_tokens):
            block = states.following
        if block is not None and self.states.lookup(sequence.prefix, STATE) is None:
            self.states.register(block, sequence.prefix, STATE)

    def _longer(self, cached: CachedPrefix, identity: int) -> CachedPrefix:
        longer = super()._longer(cached, identity)
        if self.states.lookup(identity, STATE) is None:
            return longer._replace(num_usable_blocks=cached.num_usable_blocks)
        return longer

    def _usable_blocks(self, sequence: Sequence) -> list[tuple[int, int]]:
        blocks = super()._usable_blocks(sequence)
        while blocks and self.states.lookup(blocks[-1][1], STATE) is None:
            blocks.pop()
        return blocks

    def _begin_with_copy(self, sequence: Sequence) -> None:
        """Nothing: there is no state in the middle of a block."""

    def _checkpoint(self, prefix: int) -> int:
        found = self.states.lookup(prefix, STATE)
        assert found is not None, "usable blocks end at a checkpoint"
        return found[0]

    def _release_checkpoints(self, states: StateBlocks) -> None:
        for block in states.checkpoints.values():
            self.states.release(block)
        self._num_free_checkpoints += len(states.checkpoints)
        states.checkpoints.clear()

    def _acquire(self, block: int) -> None:
        if block != self.layout.zero_block:
            self.states.acquire(block)

    def _release(self, block: int) -> None:
        if block != self.layout.zero_block:
            self.states.release(block)


def _states_of(sequence: Sequence) -> StateBlocks:
    assert sequence.states is not None, "a sequence starts with attach_cached_prefix"
    return sequence.states
