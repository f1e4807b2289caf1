"""What config.json says of each layer's attention, as transformers' modeling code takes it.

Many a config.json has keys that its model ignores: a `sliding_window` beside `use_sliding_window:
false`, `layer_types` in a Mistral. So a key counts only for the kinds of models that are known to
use it; `layer_types`, transformers' common way to say it, counts for all others. What is not
judged: the scale of other models than those of `_scale`; the sinks of others than GPT-OSS; a
`sliding_window` without `layer_types` in a model of a kind not named here. Such a model's proof is
its verification.
"""

from collections.abc import Mapping
from typing import Any

from server.engine.model.load_check.alibi import alibi_slopes
from server.engine.model.load_check.layer_attention import LayerAttention
from server.engine.model.model_info import longrope_switch

Config = Mapping[str, Any]

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
OTHER_LAYERS = frozenset({"conv", "linear_attention", "mamba", "moe", "mlp"})
"""Kinds of `layer_types` that have no KV cache."""
KNOWN_KINDS = OTHER_LAYERS | {FULL, SLIDING, CHUNKED}

# All layers of these have the window, whatever `layer_types` says.
ALL_SLIDE = frozenset({"mistral", "mixtral", "phi3", "phimoe", "starcoder2"})
# All layers of these have it where there are no `layer_types`.
ALL_SLIDE_BY_DEFAULT = frozenset({"ministral", "qwen2_moe", "qwen3_moe"})
# Models that `use_sliding_window` switches, and what holds without it.
SWITCHED = {
    "phimoe": True,
    "qwen2": False,
    "qwen2_moe": False,
    "qwen3": False,
    "qwen3_moe": False,
    "smollm3": False,
}
# Every so many layers, one without a window, where there are no `layer_types`.
PATTERNS = {
    "cohere2": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3_text": 6,
    "gpt_oss": 2,
    "olmo3": 4,
}
FIXED_PATTERNS = frozenset({"gemma2", "gpt_oss", "olmo3"})


def declared_layers(config: Config, num_layers: int) -> list[LayerAttention]:
    """The attention of each of `num_layers` layers that have a KV cache.

    `config` is the text model's part. Raises LookupError, TypeError or ValueError for a config.json
    that does not say what its kind of model needs.
    """
    slopes = alibi_slopes(config)
    return [
        LayerAttention(
            window=_window(config, kind),
            chunk=_chunk(config, kind),
            slopes=None if slopes is None else tuple(slopes.tolist()),
            has_sinks=True if config.get("model_type") == "gpt_oss" else None,
            scale=_scale(config),
        )
        for kind in layer_kinds(config, num_layers)
    ]


def edges(config: Config) -> dict[str, int]:
    """Lengths of a text, in tokens, at which attention or positions change, by what names them."""
    window = "window_size" if config.get("model_type") == "gpt_neo" else "sliding_window"
    lengths = {
        window: _window(config, SLIDING),
        "attention_chunk_size": _chunk(config, CHUNKED),
        "original_max_position_embeddings": longrope_switch(config),
    }
    return {name: length for name, length in lengths.items() if length}


def layer_kinds(config: Config, num_layers: int) -> list[str | None]:
    """FULL, SLIDING or CHUNKED for each layer that has a KV cache; None where it is not known."""
    kinds = config.get("layer_types")
    model_type = config.get("model_type")
    if model_type == "gpt_neo":
        return _gpt_neo_kinds(config)[:num_layers]
    if model_type in ALL_SLIDE or (not kinds and model_type in ALL_SLIDE_BY_DEFAULT):
        return [SLIDING] * num_layers
    if kinds:
        return _named_kinds(kinds, num_layers)
    return [_kind_without_types(config, layer) for layer in range(num_layers)]


def _named_kinds(kinds: list[str], num_layers: int) -> list[str | None]:
    if len(kinds) < num_layers:
        raise ValueError(f"layer_types names {len(kinds)} layers, the graph has {num_layers}")
    if not KNOWN_KINDS.issuperset(kinds):
        return [None] * num_layers
    # Layers after these use the caches of others, which are of their own kind.
    with_cache: list[str | None] = [kind for kind in kinds if kind not in OTHER_LAYERS]
    return with_cache[:num_layers]


def _kind_without_types(config: Config, layer: int) -> str | None:
    model_type = str(config.get("model_type"))
    uses_rope = config.get("no_rope_layers")
    if model_type in PATTERNS:
        return FULL if (layer + 1) % _pattern(config, model_type) == 0 else SLIDING
    if model_type in ("qwen2", "qwen3", "dots1"):
        return SLIDING if layer >= int(config["max_window_layers"]) else FULL
    if model_type == "smollm3" and uses_rope:
        return FULL if uses_rope[layer] else SLIDING
    if model_type.startswith("llama4"):
        is_chunked = uses_rope[layer] if uses_rope else (layer + 1) % 4 != 0
        return CHUNKED if is_chunked else FULL
    return None


def _pattern(config: Config, model_type: str) -> int:
    if model_type in FIXED_PATTERNS:
        return PATTERNS[model_type]
    pattern = config.get("sliding_window_pattern", PATTERNS[model_type])
    # EXAONE 4 writes "LLLG" for three local layers and a global one.
    return len(pattern) if isinstance(pattern, str) else int(pattern)


def _gpt_neo_kinds(config: Config) -> list[str | None]:
    return [
        SLIDING if kind == "local" else FULL
        for pattern, count in config["attention_types"]
        for _ in range(count)
        for kind in pattern
    ]


def _window(config: Config, kind: str | None) -> int | None:
    if kind != SLIDING:
        return None if kind is None else 0
    model_type = config.get("model_type")
    key = "window_size" if model_type == "gpt_neo" else "sliding_window"
    is_on = config.get("use_sliding_window", SWITCHED.get(str(model_type)))
    if model_type in SWITCHED and not is_on:
        return 0
    # Which size holds for a missing key depends on the model; Gemma 3 halves it in embedders.
    if key not in config or config.get("use_bidirectional_attention"):
        return None
    return _size(config, key)


def _chunk(config: Config, kind: str | None) -> int | None:
    if kind != CHUNKED:
        return None if kind is None else 0
    return _size(config, "attention_chunk_size")


def _size(config: Config, key: str) -> int:
    """A number of tokens; 0 where there is none."""
    value = config.get(key)
    if value is None:
        return 0
    if type(value) is not int:
        raise TypeError(f"{key} is {value!r}; it must be an integer or null")
    return value


def _scale(config: Config) -> float | None:
    match config.get("model_type"):
        case "gpt_neo":
            return 1.0
        case "gemma2" | "gemma3" | "gemma3_text" | "vaultgemma":
            scalar = config.get("query_pre_attn_scalar")
            return None if scalar is None else float(scalar) ** -0.5
        case "granite" | "granitemoe" | "granitemoeshared" | "granitemoehybrid":
            multiplier = config.get("attention_multiplier")
            return None if multiplier is None else float(multiplier)
        case _:
            return None
