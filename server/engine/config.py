"""The settings of one engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.engine.adapters.settings import NO_ADAPTERS, AdapterSettings
from server.errors import ConfigError

PluginValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class DraftConfig:
    """The draft model of speculative decoding, a smaller one with the same tokenizer.

    `device` "" is the device of the model. `cache_size` limits the memory of its KV cache in GB; 0
    takes what the sizes of the two caches give. At most `max_num_seqs` sequences get drafts in a
    step, and at most `max_num_batched_tokens` tokens are read to catch up; 0 takes the model's own.
    Without `dynamic_split_fuse` it reads whole prompts at once. Raises ConfigError for a negative
    number.
    """

    models_path: Path
    device: str = ""
    cache_size: int = 0
    max_num_batched_tokens: int = 0
    max_num_seqs: int = 0
    dynamic_split_fuse: bool = True

    def __post_init__(self) -> None:
        for name in ("cache_size", "max_num_batched_tokens", "max_num_seqs"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigError(f"draft_{name} is {value}; it must be at least 0")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one model is loaded and batched. Raises ConfigError for a value that cannot work.

    `cache_size` is the KV cache in GB (2**30 bytes); 0 takes a share of the free memory, at most
    that for `max_cached_tokens`, unless that is 0. `num_kv_blocks` overrides it unless it is 0.
    `max_num_batched_tokens` is the token budget of one step, `max_num_seqs` the number of sequences
    that run at once. `dynamic_split_fuse` cuts prompts into chunks and mixes them with decoding;
    without it, whole prompts run in steps of their own.
    `target_inter_token_latency_ms` limits the duration of a step that decodes: prompts are read
    in smaller chunks to meet it. 0 is no target; None lets it follow from what steps cost. Without
    `dynamic_split_fuse` there can be no target.
    `cache_interval_multiplier` is for models with states, such as those of linear attention: the
    prefix cache keeps them after every so many KV blocks. 0 adapts it to the size of the states.
    `auto_tune` measures at load which properties are fastest, of those not in `plugin_config`.
    Without `has_head` the engine loads no output head and gives hidden states only. Then the model
    may be a decoder that was exported without a KV cache, as embedders are.
    `prompt_lookup` is speculative decoding with what followed the same tokens before, and `draft` a
    model that proposes tokens instead.
    `served_name` is the model that the engine is counted for in the metrics; "" for none.
    `adapters` are those that the model begins with, and whether others may be loaded later.
    `on_progress` is called from the loading thread with a short text and the fraction of the load
    that is done, 0 to 1; the first half belongs to tuning.
    """

    models_path: Path
    device: str = "CPU"
    plugin_config: Mapping[str, PluginValue] = field(default_factory=dict)
    cache_size: int = 0
    max_cached_tokens: int = 0
    num_kv_blocks: int = 0
    max_num_batched_tokens: int = 256
    max_num_seqs: int = 256
    dynamic_split_fuse: bool = True
    enable_prefix_caching: bool = False
    cache_interval_multiplier: int = 0
    target_inter_token_latency_ms: int | None = None
    auto_tune: bool = False
    has_head: bool = True
    prompt_lookup: bool = False
    draft: DraftConfig | None = None
    served_name: str = ""
    adapters: AdapterSettings = NO_ADAPTERS
    on_progress: Callable[[str, float], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, lowest in (
            ("cache_size", 0),
            ("max_cached_tokens", 0),
            ("num_kv_blocks", 0),
            ("max_num_batched_tokens", 1),
            ("max_num_seqs", 1),
            ("cache_interval_multiplier", 0),
            ("target_inter_token_latency_ms", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ConfigError(f"{name} is {value}; it must be at least {lowest}")
        if not self.dynamic_split_fuse and self.target_inter_token_latency_ms:
            raise ConfigError(
                f"target_inter_token_latency_ms is {self.target_inter_token_latency_ms}; without "
                "dynamic_split_fuse, which cuts prompts into chunks, there is none"
            )

    @property
    def speculates(self) -> bool:
        """Whether tokens are proposed."""
        return self.prompt_lookup or self.draft is not None

    @property
    def target_s(self) -> float | None:
        """The target for the time between two tokens in seconds; 0 is none, None by the machine."""
        if not self.dynamic_split_fuse:
            return 0.0
        target_ms = self.target_inter_token_latency_ms
        return None if target_ms is None else target_ms / 1000

    def report_progress(self, text: str, fraction: float) -> None:
        """Tell `on_progress`, where it is set, how far the loading is."""
        if self.on_progress is not None:
            self.on_progress(text, fraction)
