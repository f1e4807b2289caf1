"""The cache of an engine: its sizes, which stay when a model is loaded anew, and its manager."""

from dataclasses import dataclass, replace

from server.engine.config import EngineConfig
from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.kv.state_cache_manager import NO_STATE_BLOCKS, StateCacheManager, StateLayout
from server.engine.model.cache.cache_sizing import num_kv_blocks, plan_states
from server.engine.model.model_loader import LoadedModel
from server.engine.model.stateful.state_room import state_room

__all__ = ["CachePlan", "plan_cache"]


@dataclass(frozen=True, slots=True)
class CachePlan:
    """`num_blocks` KV blocks of `block_size` tokens for `max_num_seqs` sequences.

    A model with state tables has `state_blocks` beside them. A model that is not paged has one
    block for each sequence instead, as long as the longest text, and `state_bytes` for all states.
    """

    num_blocks: int
    block_size: int
    max_num_seqs: int
    max_model_len: int | None
    has_prefixes: bool
    state_blocks: StateLayout = NO_STATE_BLOCKS
    state_bytes: int = 0

    def make_manager(self) -> KVCacheManager:
        """A manager of all blocks, none of them in use."""
        if self.state_blocks.num_blocks:
            return StateCacheManager(
                self.num_blocks, self.block_size, self.has_prefixes, self.state_blocks
            )
        return KVCacheManager(self.num_blocks, self.block_size, self.has_prefixes)


def plan_cache(
    config: EngineConfig,
    model: LoadedModel,
    max_model_len: int | None,
    draft: LoadedModel | None = None,
) -> CachePlan:
    """The cache that the settings and the free memory give. Raises ModelLoadError for too little.

    `max_model_len` is the context of the model, None where it states none. `draft` has a cache of
    as many blocks beside the model's.
    """
    if model.states is not None:
        context = max_model_len
        if model.encoder is not None:
            # OpenVINO 2026.4's CPU plugin overruns memory where infer requests of such a decoder
            # take turns. One after the other they are right.
            config = replace(config, max_num_seqs=1)
            # Prompt and answer have positions of their own.
            context = None if model.encoder.max_len is None else 2 * model.encoder.max_len
        room = state_room(config, model.states, model.device, context)
        return CachePlan(
            num_blocks=room.num_sequences,
            block_size=room.num_tokens,
            max_num_seqs=config.max_num_seqs,
            max_model_len=room.num_tokens,
            # States have no parts that another sequence could begin with.
            has_prefixes=False,
            state_bytes=room.num_bytes,
        )
    states = plan_states(config, model)
    num_blocks = num_kv_blocks(config, model, max_model_len, states, draft)
    return CachePlan(
        num_blocks=num_blocks,
        block_size=model.block_size,
        max_num_seqs=config.max_num_seqs if states is None else states.max_num_seqs,
        max_model_len=max_model_len,
        has_prefixes=config.enable_prefix_caching,
        state_blocks=states.layout(num_blocks, model.block_size) if states else NO_STATE_BLOCKS,
    )
