"""Settings of one engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.errors import ConfigError

PluginValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one model is loaded and batched. Raises ConfigError for a value that cannot work.

    `cache_size` is the KV cache in GB (2**30 bytes); 0 takes a share of the memory that is free.
    `num_kv_blocks` overrides it when it is not 0. `max_num_batched_tokens` is the token budget of
    one step; `max_num_seqs` the sequences that run at once. `dynamic_split_fuse` cuts prompts into
    chunks and mixes them with decoding; without it, whole prompts run in steps of their own.
    `auto_tune` measures at load which properties that `plugin_config` does not state are fastest.
    """

    models_path: Path
    device: str = "CPU"
    plugin_config: Mapping[str, PluginValue] = field(default_factory=dict)
    cache_size: int = 0
    num_kv_blocks: int = 0
    max_num_batched_tokens: int = 256
    max_num_seqs: int = 256
    dynamic_split_fuse: bool = True
    enable_prefix_caching: bool = False
    auto_tune: bool = False

    def __post_init__(self) -> None:
        for name, lowest in (
            ("cache_size", 0),
            ("num_kv_blocks", 0),
            ("max_num_batched_tokens", 1),
            ("max_num_seqs", 1),
        ):
            value = getattr(self, name)
            if value < lowest:
                raise ConfigError(f"{name} is {value}; it must be at least {lowest}")
