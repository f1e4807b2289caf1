"""The options of a node that runs an LLM, named as OpenVINO Model Server has them."""

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from calculators.llm.lora_options import LoraAdapter, find_adapter_problems
from server.graph import UInt64

__all__ = [
    "AggregationMode",
    "AnchorPointMode",
    "CacheEvictionConfig",
    "ChatTemplateMode",
    "KVCrushConfig",
    "LLMCalculatorOptions",
    "PipelineType",
    "SparseAttentionConfig",
    "SparseAttentionMode",
    "parse_llm_properties",
    "parse_plugin_config",
]

PROMPT_LOOKUP = "prompt_lookup"


class PipelineType(IntEnum):
    """What runs the model; LM_CB is continuous batching of a text model.

    LM is one request after the other in Model Server; here it is served like LM_CB.
    """

    LM = 0
    VLM = 1
    LM_CB = 2
    VLM_CB = 3
    OMNI = 4
    AUTO = 5


class ChatTemplateMode(IntEnum):
    """What renders chat templates."""

    MINJA = 0
    JINJA = 1


class AggregationMode(IntEnum):
    """How cache eviction adds up scores."""

    SUM = 0
    NORM_SUM = 1


class AnchorPointMode(IntEnum):
    """The anchor points of KVCrush."""

    RANDOM = 0
    ZEROS = 1
    ONES = 2
    MEAN = 3
    ALTERNATING = 4


class SparseAttentionMode(IntEnum):
    """The pattern of sparse attention."""

    TRISHAPE = 0
    XATTENTION = 1


@dataclass(frozen=True)
class KVCrushConfig:
    """Of cache eviction; parsed so that it can be refused by name."""

    budget: UInt64 = 0
    anchor_point_mode: AnchorPointMode = AnchorPointMode.RANDOM
    rng_seed: UInt64 = 0


@dataclass(frozen=True)
class CacheEvictionConfig:
    """Parsed so that it can be refused by name."""

    start_size: UInt64
    recent_size: UInt64
    max_cache_size: UInt64
    aggregation_mode: AggregationMode = AggregationMode.NORM_SUM
    apply_rotation: bool = False
    snapkv_window_size: UInt64 = 8
    kv_crush_config: KVCrushConfig | None = None


@dataclass(frozen=True)
class SparseAttentionConfig:
    """Parsed so that it can be refused by name."""

    mode: SparseAttentionMode = SparseAttentionMode.TRISHAPE
    num_last_dense_tokens_in_prefill: UInt64 = 100
    num_retained_start_tokens_in_cache: UInt64 = 128
    num_retained_recent_tokens_in_cache: UInt64 = 1920
    xattention_threshold: float = 0.8
    xattention_block_size: UInt64 = 64
    xattention_stride: UInt64 = 8


@dataclass(frozen=True)
class LLMCalculatorOptions:
    """How a model is loaded and batched; raises ValueError for what cannot be done.

    `cache_size` is the KV cache in GB; 0 takes a share of the memory that is free.
    `num_kv_blocks`, which Model Server does not have, sets the cache in blocks of 32 tokens
    instead. `device` "" is the first GPU, or the CPU where there is none. `plugin_config` is a JSON
    object of OpenVINO properties. `max_tokens_limit` is the most that a request may ask for.
    A request's `best_of` must be below `best_of_limit`. `max_tokens_per_request` and
    `max_logprobs_per_request` bound what all answers to one request have together.
    These and the next ones are not Model Server's. With `auto_tune` the first load measures which
    OpenVINO properties are fastest on this machine, except those that `plugin_config` sets.
    `target_inter_token_latency_ms` is how long the prompts of others may delay the next token of an
    answer; 0 is no target, None lets it follow from what steps cost. `max_num_queued_requests` and
    `max_num_queued_tokens` are the most answers, and tokens of prompts, that wait to be started; 0
    is no limit, and None what the server says. Requests may name the `lora_adapters` as models.
    Where the server lets adapters be loaded later, they may change the layers whose names end with
    one of `lora_target_modules`, or all.

    `draft_models_path` is a smaller model with the same tokenizer, which proposes tokens for
    speculative decoding; the other `draft_` options are for that model what those without `draft_`
    are for this one, except that `draft_block_size` has no effect, as in Model Server.
    `plugin_config` may have `prompt_lookup`, a boolean: speculative decoding with tokens that
    followed the same ones before. Options that are not supported yet may be left out or have Model
    Server's defaults.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.LLMCalculatorOptions"

    models_path: str
    max_num_batched_tokens: UInt64 = 256
    cache_size: UInt64 = 0
    num_kv_blocks: UInt64 = 0
    max_num_seqs: UInt64 = 256
    dynamic_split_fuse: bool = True
    device: str = ""
    plugin_config: str = ""
    best_of_limit: UInt64 = 20
    max_tokens_limit: UInt64 | None = None
    enable_prefix_caching: bool = False
    draft_models_path: str | None = None
    draft_device: str | None = None
    draft_max_num_batched_tokens: UInt64 | None = None
    draft_cache_size: UInt64 | None = None
    draft_block_size: UInt64 | None = None
    draft_max_num_seqs: UInt64 | None = None
    draft_dynamic_split_fuse: bool | None = None
    draft_eagle3_mode: bool = False
    pipeline_type: PipelineType = PipelineType.AUTO
    cache_eviction_config: CacheEvictionConfig | None = None
    enable_tool_guided_generation: bool = False
    sparse_attention_config: SparseAttentionConfig | None = None
    cache_interval_multiplier: UInt64 | None = None
    chat_template_mode: ChatTemplateMode = ChatTemplateMode.JINJA
    auto_tune: bool = True
    target_inter_token_latency_ms: UInt64 | None = None
    max_tokens_per_request: UInt64 = 2**22
    max_logprobs_per_request: UInt64 = 2**20
    max_num_queued_requests: UInt64 | None = None
    max_num_queued_tokens: UInt64 | None = None
    lora_adapters: tuple[LoraAdapter, ...] = ()
    lora_target_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_llm_properties(self.plugin_config)
        problems = self._find_problems()
        if problems:
            raise ValueError("; ".join(problems))

    def _find_problems(self) -> list[str]:
        return [
            *self._find_bad_counts(),
            *self._find_draft_problems(),
            *self._find_unsupported(),
            *find_adapter_problems(self.lora_adapters),
        ]

    def _find_bad_counts(self) -> list[str]:
        return [
            f"{name} is 0; it must be at least 1"
            for name in _AT_LEAST_ONE
            if getattr(self, name) == 0
        ]

    def _find_draft_problems(self) -> list[str]:
        if self.draft_eagle3_mode:
            return [
                "draft_eagle3_mode is not supported yet; a draft model with the same tokenizer is, "
                "with draft_models_path alone"
            ]
        given = [name for name in _OF_DRAFT if getattr(self, name)]
        if given and not self.draft_models_path:
            return [
                f"{name} is {getattr(self, name)!r}, but there is no draft model; name it with "
                "draft_models_path"
                for name in given
            ]
        return []

    def _find_unsupported(self) -> list[str]:
        problems = []
        if self.target_inter_token_latency_ms and not self.dynamic_split_fuse:
            problems.append("target_inter_token_latency_ms needs dynamic_split_fuse")
        if self.pipeline_type not in (PipelineType.LM, PipelineType.LM_CB, PipelineType.AUTO):
            problems.append(
                f"pipeline_type is {self.pipeline_type.name}, which is not supported yet; "
                "possible: LM, LM_CB, AUTO"
            )
        if self.chat_template_mode != ChatTemplateMode.JINJA:
            problems.append(
                f"chat_template_mode is {self.chat_template_mode.name}, which is not supported; "
                "possible: JINJA"
            )
        for name in _UNSUPPORTED:
            # An exporter may write a field that is not used as "", false or 0.
            if getattr(self, name):
                problems.append(f"{name} is not supported yet; leave it out")
        return problems


def parse_llm_properties(text: str) -> tuple[dict[str, Any], bool]:
    """The OpenVINO properties of a `plugin_config` option, and whether it has `prompt_lookup`.

    Raises what `parse_plugin_config` does.
    """
    found = _parse_object(text)
    asked = found.pop(PROMPT_LOOKUP, False)
    if not isinstance(asked, bool):
        raise ValueError(f"plugin_config has {PROMPT_LOOKUP}: {asked!r}; it must be true or false")
    return found, asked


def parse_plugin_config(text: str) -> dict[str, Any]:
    """The OpenVINO properties of a `plugin_config` option; "" means none.

    Raises ValueError unless it is a JSON object of strings, numbers and booleans.
    """
    found = _parse_object(text)
    if found.pop(PROMPT_LOOKUP, False):
        raise ValueError(f"plugin_config asks for {PROMPT_LOOKUP}; this model writes no text")
    return found


def _parse_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"plugin_config is not JSON: {error}; found {text[:200]!r}") from error
    if not isinstance(found, dict):
        raise ValueError(f"plugin_config is {text!r}; it must be a JSON object")
    for key, value in found.items():
        if not isinstance(value, str | int | float | bool):
            raise ValueError(
                f"plugin_config has {key}: {value!r}; it must be a string, number or boolean"
            )
    return found


_AT_LEAST_ONE = (
    "max_num_batched_tokens",
    "max_num_seqs",
    "max_tokens_limit",
    "max_tokens_per_request",
    "max_logprobs_per_request",
    "cache_interval_multiplier",
)
_OF_DRAFT = (
    "draft_device",
    "draft_max_num_batched_tokens",
    "draft_cache_size",
    "draft_block_size",
    "draft_max_num_seqs",
    "draft_dynamic_split_fuse",
)
_UNSUPPORTED = (
    "cache_eviction_config",
    "sparse_attention_config",
)
