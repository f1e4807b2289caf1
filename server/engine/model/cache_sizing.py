"""How many KV blocks an engine reserves."""

from server.engine.config import EngineConfig
from server.engine.kv.kv_cache import bytes_per_block
from server.engine.model.device import Device
from server.engine.model.model_loader import LoadedModel
from server.errors import ModelLoadError

GIB = 2**30
SHARE_OF_FREE_MEMORY = 0.5
"""What `cache_size` 0 takes; the rest is for activations, other models and the page cache."""

USUAL_LENGTH = 1024
"""The length of a sequence for which `has_room_for_16_bits` wants room."""


def num_kv_blocks(config: EngineConfig, model: LoadedModel, max_model_len: int | None) -> int:
    """Blocks to reserve for a model.

    Raises ModelLoadError where less memory is free than was asked for, or too little for one block.
    """
    if config.num_kv_blocks:
        return config.num_kv_blocks
    return _affordable_blocks(config, model, bytes_per_block(model.kv_inputs), max_model_len)


def has_room_for_16_bits(
    config: EngineConfig, model: LoadedModel, max_model_len: int | None
) -> bool:
    """Whether the cache of `model`, which has 8 bits an element, would fit with 16 as well.

    It fits where `max_num_seqs` sequences of `USUAL_LENGTH` tokens do. Raises ModelLoadError as
    `num_kv_blocks` does.
    """
    wide_bytes = 2 * bytes_per_block(model.kv_inputs)
    length = min(USUAL_LENGTH, max_model_len or USUAL_LENGTH)
    least = config.max_num_seqs * -(-length // model.block_size)
    if config.num_kv_blocks:
        return config.num_kv_blocks * wide_bytes <= model.device.free_bytes() * SHARE_OF_FREE_MEMORY
    return _affordable_blocks(config, model, wide_bytes, max_model_len) >= least


def _affordable_blocks(
    config: EngineConfig, model: LoadedModel, block_bytes: int, max_model_len: int | None
) -> int:
    affordable = cache_bytes(config, model.device) // block_bytes
    if config.cache_size:
        return max(1, affordable)
    if affordable < 1:
        free = model.device.free_bytes()
        problem = f"{free} bytes of memory are free, too few for one KV block"
        raise ModelLoadError(f"{problem}; free some memory, or serve a smaller model")
    if max_model_len is None:
        return affordable
    # All sequences at their longest can use no more.
    return min(affordable, config.max_num_seqs * -(-max_model_len // model.block_size))


def cache_bytes(config: EngineConfig, device: Device) -> int:
    """The memory for what sequences have read: as stated, or a share of what is free.

    Raises ModelLoadError where less memory is free than was asked for.
    """
    free = device.free_bytes()
    if not config.cache_size:
        return int(free * SHARE_OF_FREE_MEMORY)
    wanted = config.cache_size * GIB
    if wanted > free:
        raise ModelLoadError(
            f"cache_size is {config.cache_size} GB, but only {free / GIB:.1f} GB of memory are "
            "free; choose less, or 0 for a share of what is free"
        )
    return wanted
