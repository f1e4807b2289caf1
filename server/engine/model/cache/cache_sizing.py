"""How many KV blocks and state blocks an engine reserves."""

import logging
from dataclasses import dataclass, replace

from server.engine.config import EngineConfig
from server.engine.kv.kv_cache import bytes_per_block
from server.engine.kv.state_cache_manager import StateLayout
from server.engine.model.device import Device
from server.engine.model.model_loader import LoadedModel
from server.errors import ModelLoadError

logger = logging.getLogger(__name__)

GIB = 2**30
SHARE_OF_FREE_MEMORY = 0.5
"""What `cache_size` 0 takes; the rest is for activations, other models and the page cache."""

USUAL_LENGTH = 1024
"""The length of a sequence for which `has_room_for_16_bits` wants room."""

LEAST_INTERVAL = 8
"""KV blocks between two checkpoints of a model whose states are small."""

SHARE_OF_STATES = 0.5
"""The most that the states of running sequences take of what is for the whole cache."""


@dataclass(frozen=True, slots=True)
class StatePlan:
    """How the state tables of a model are used; a block of all of them has `state_bytes`.

    Each of `max_num_seqs` sequences has two blocks. With a prefix cache there is one more for each,
    and one for every `blocks_between` KV blocks, for checkpoints.
    """

    max_num_seqs: int
    blocks_between: int
    state_bytes: int
    has_checkpoints: bool

    def num_blocks(self, num_kv_blocks: int) -> int:
        """State blocks beside so many KV blocks."""
        if not self.has_checkpoints:
            return 2 * self.max_num_seqs
        return 3 * self.max_num_seqs - (-num_kv_blocks // self.blocks_between)

    def layout(self, num_kv_blocks: int, block_size: int) -> StateLayout:
        """The state blocks beside so many KV blocks of so many tokens."""
        return StateLayout(
            num_blocks=self.num_blocks(num_kv_blocks),
            max_num_seqs=self.max_num_seqs,
            interval=self.blocks_between * block_size,
            least_interval=block_size if self.has_checkpoints else 0,
        )


def plan_states(config: EngineConfig, model: LoadedModel) -> StatePlan | None:
    """The plan for a model with state tables; None for another one.

    As many sequences run at once as have room for their states. Raises ModelLoadError as
    `num_kv_blocks` does.
    """
    if not model.state_tables:
        return None
    state_bytes = bytes_per_block(model.state_tables)
    adapted = -(-state_bytes // bytes_per_block(model.kv_inputs))
    plan = StatePlan(
        max_num_seqs=min(config.max_num_seqs, config.max_num_batched_tokens),
        blocks_between=config.cache_interval_multiplier or max(LEAST_INTERVAL, adapted),
        state_bytes=state_bytes,
        has_checkpoints=config.enable_prefix_caching,
    )
    # `num_kv_blocks` overrides `cache_size`.
    settings = replace(config, cache_size=0) if config.num_kv_blocks else config
    room = int(cache_bytes(settings, model.device) * SHARE_OF_STATES)
    affordable = room // (plan.num_blocks(0) * state_bytes // plan.max_num_seqs)
    return replace(plan, max_num_seqs=max(1, min(plan.max_num_seqs, affordable)))


def num_kv_blocks(
    config: EngineConfig,
    model: LoadedModel,
    max_model_len: int | None,
    states: StatePlan | None = None,
    draft: LoadedModel | None = None,
) -> int:
    """Blocks to reserve for a model, and as many for its draft model.

    `draft_cache_size` limits them even where `num_kv_blocks` is stated. Raises ModelLoadError where
    less memory is free than was asked for, or too little for one block.
    """
    if config.num_kv_blocks:
        return _limited_by_draft(config, draft)
    block_bytes = bytes_per_block(model.kv_inputs)
    if draft is None:
        return _affordable_blocks(config, model, block_bytes, max_model_len, states)
    of_draft = bytes_per_block(draft.kv_inputs)
    most = _most_draft_blocks(config, draft, of_draft)
    if draft.device.name == model.device.name:
        # Both share what there is for the cache.
        block_bytes += of_draft
    return min(most, _affordable_blocks(config, model, block_bytes, max_model_len, states))


def _limited_by_draft(config: EngineConfig, draft: LoadedModel | None) -> int:
    """The stated number of blocks, or fewer, where they would exceed `draft_cache_size`."""
    stated = config.num_kv_blocks
    if draft is None or config.draft is None or not config.draft.cache_size:
        return stated
    most = _most_draft_blocks(config, draft, bytes_per_block(draft.kv_inputs))
    if most < stated:
        logger.warning(
            "%s: num_kv_blocks is %d, but draft_cache_size %d GB has room for %d blocks of the "
            "draft model; both caches have so many",
            *(config.models_path, stated, config.draft.cache_size, most),
        )
    return min(stated, most)


def _most_draft_blocks(config: EngineConfig, draft: LoadedModel, block_bytes: int) -> int:
    """How many blocks of a draft model the settings and its device allow."""
    assert config.draft is not None, "there is a draft model"
    room = _room(config.draft.cache_size, draft.device, "draft_")
    return max(1, room // block_bytes)


def has_room_for_16_bits(
    config: EngineConfig, model: LoadedModel, max_model_len: int | None, factor: float = 1.0
) -> bool:
    """Whether the cache of `model`, which has 8 bits an element, would fit with 16 as well.

    `model` may have few layers; all have `factor` times as many. It fits where `max_num_seqs`
    sequences of `USUAL_LENGTH` tokens do. Raises ModelLoadError as `num_kv_blocks` does.
    """
    wide_bytes = round(2 * factor * bytes_per_block(model.kv_inputs))
    length = min(USUAL_LENGTH, max_model_len or USUAL_LENGTH)
    least = config.max_num_seqs * -(-length // model.block_size)
    if config.num_kv_blocks:
        return config.num_kv_blocks * wide_bytes <= model.device.free_bytes() * SHARE_OF_FREE_MEMORY
    return _affordable_blocks(config, model, wide_bytes, max_model_len) >= least


def _affordable_blocks(
    config: EngineConfig,
    model: LoadedModel,
    block_bytes: int,
    max_model_len: int | None,
    states: StatePlan | None = None,
) -> int:
    room = cache_bytes(config, model.device)
    if states is not None:
        room -= states.num_blocks(0) * states.state_bytes
        if states.has_checkpoints:
            block_bytes += -(-states.state_bytes // states.blocks_between)
    affordable = room // block_bytes
    if config.cache_size:
        return max(1, affordable)
    if affordable < 1:
        free = model.device.free_bytes()
        problem = f"{free} bytes of memory are free, too few for one KV block"
        raise ModelLoadError(f"{problem}; free some memory, or serve a smaller model")
    if config.max_cached_tokens:
        affordable = min(affordable, -(-config.max_cached_tokens // model.block_size))
    if max_model_len is None:
        return affordable
    # All sequences at their longest can use no more.
    num_seqs = config.max_num_seqs if states is None else states.max_num_seqs
    return min(affordable, num_seqs * -(-max_model_len // model.block_size))


def cache_bytes(config: EngineConfig, device: Device) -> int:
    """The memory for what sequences have read: as stated, or a share of what is free.

    Raises ModelLoadError where less memory is free than was asked for.
    """
    return _room(config.cache_size, device)


def _room(size: int, device: Device, prefix: str = "") -> int:
    free = device.free_bytes()
    if not size:
        return int(free * SHARE_OF_FREE_MEMORY)
    wanted = size * GIB
    if wanted > free:
        raise ModelLoadError(
            f"{prefix}cache_size is {size} GB, but only {free / GIB:.1f} GB of memory are "
            "free; choose less, or 0 for a share of what is free"
        )
    return wanted
