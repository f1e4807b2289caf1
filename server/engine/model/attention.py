"""Sets what OpenVINO's PagedAttention transformation drops: ALiBi slopes and local windows.

The transformation (SDPAToPagedAttention) replaces the attention mask of a model. It understands
BLOOM's ALiBi and the sliding windows of transformers' usual masks. It drops all else without an
error, and the model would answer wrongly. Here config.json says what each layer needs.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from server.engine.model.model_info import config_layers, longrope_switch
from server.engine.model.rope_switch import choose_rope_by_token
from server.errors import ModelLoadError

__all__ = ["CHUNK_PREFIX", "PLAIN_ATTENTION", "AttentionForm", "complete_attention"]

Config = Mapping[str, Any]

OP_TYPE = "PagedAttentionExtension"
# Inputs of the operation (openvino, PagedAttentionExtension).
KEY_CACHE, WINDOW, SLOPES = 3, 10, 11

CHUNK_PREFIX = "chunk."
# The inputs that say where sequences and their blocks are; chunked layers get their own.
PLACES = {
    5: "past_lens",
    6: "subsequence_begins",
    7: "block_indices",
    8: "block_indices_begins",
    12: "max_context_len",
}
BLOCKS_DIVIDE = 32


@dataclass(frozen=True, slots=True)
class AttentionForm:
    """What a model needs to be told of a step beyond what every model is told.

    Layers with chunked attention see only the tokens of their own chunk of `chunk_size`. Sequences
    of more than `long_after` tokens use the long factors of longrope. Answers are right up to
    `context_limit` tokens. None stands for a model without such a thing.
    """

    chunk_size: int | None = None
    long_after: int | None = None
    context_limit: int | None = None


PLAIN_ATTENTION = AttentionForm()


def complete_attention(model: ov.Model, config: Config) -> AttentionForm:
    """Give a model the attention that config.json asks for and the transformed graph lacks.

    Raises ModelLoadError for a model whose attention is not possible here, and for a config.json
    that does not say what its kind of model needs.
    """
    try:
        return _complete(model, config)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelLoadError(
            f"config.json does not describe the attention of a {config.get('model_type')!r} model: "
            f"{type(error).__name__}: {error}"
        ) from error


def _complete(model: ov.Model, config: Config) -> AttentionForm:
    text_config = config_layers(config)[-1]
    _complete_layers(model, config)
    long_after = longrope_switch(text_config)
    limits = []
    chunk_size: Any = text_config.get("attention_chunk_size")
    chunked = [node for node in _operations(model) if _is_chunked(text_config, _layer_of(node))]
    if not chunked:
        chunk_size = None
    elif chunk_size % BLOCKS_DIVIDE:
        limits.append(chunk_size)
        chunk_size = None
    else:
        _cut_into_chunks(model, chunked)
    if long_after is not None and not choose_rope_by_token(model):
        limits.append(long_after)
        long_after = None
    return AttentionForm(chunk_size, long_after, min(limits, default=None))


def _complete_layers(model: ov.Model, config: Config) -> None:
    if config.get("is_encoder_decoder"):
        raise ModelLoadError(
            "config.json says is_encoder_decoder: this is a decoder that needs its encoder; "
            "only decoder-only models can generate text here"
        )
    slopes = _alibi_slopes(config)
    windows = _local_windows(config)
    for operation in _operations(model):
        if slopes is not None:
            _set(operation, SLOPES, slopes)
        elif _asks_for_alibi(config) and _is_empty(operation.input_value(SLOPES)):
            raise ModelLoadError(
                f"config.json asks for ALiBi, which the graph of a {config.get('model_type')!r} "
                "model loses in its PagedAttention form; known are bloom, falcon and mpt"
            )
        window = windows.get(_layer_of(operation))
        if window is not None:
            _set(operation, WINDOW, np.int32(window))


def _operations(model: ov.Model) -> Iterable[ov.Node]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == OP_TYPE]


def _layer_of(operation: ov.Node) -> int:
    name = operation.input_value(KEY_CACHE).get_node().get_friendly_name()
    return int(name.removeprefix("key_cache."))


def _set(operation: ov.Node, index: int, value: npt.ArrayLike) -> None:
    operation.input(index).replace_source_output(ops.constant(value).output(0))


def _is_empty(value: ov.Output) -> bool:
    shape = value.get_partial_shape()
    return bool(shape.is_static and 0 in shape.to_shape())


def _asks_for_alibi(config: Config) -> bool:
    attention = config.get("attn_config")
    nested = attention.get("alibi") if isinstance(attention, dict) else None
    return bool(
        config.get("alibi")
        or config.get("use_alibi")
        or nested
        or config.get("position_embedding_type") == "alibi"
    )


def _alibi_slopes(config: Config) -> npt.NDArray[np.float32] | None:
    """f32[heads], as transformers computes them; None for a model that needs none set."""
    if not _asks_for_alibi(config):
        return None
    match config.get("model_type"):
        case "mpt":
            return _mpt_slopes(int(config["n_heads"]))
        case "falcon":
            num_heads = int(config["num_attention_heads"])
            # FalconAttention adds the bias before it scales the scores, unlike BLOOM.
            return _bloom_slopes(num_heads) / np.float32(
                math.sqrt(int(config["hidden_size"]) // num_heads)
            )
        case _:
            return None


def _mpt_slopes(num_heads: int) -> npt.NDArray[np.float32]:
    """transformers, modeling_mpt.py, build_mpt_alibi_tensor; it ignores `alibi_bias_max`."""
    num_steps = 2 ** math.ceil(math.log2(num_heads))
    slopes = 2.0 ** -(np.arange(1, num_steps + 1) * 8 / num_steps)
    if num_steps != num_heads:
        slopes = np.concatenate([slopes[1::2], slopes[::2]])[:num_heads]
    result: npt.NDArray[np.float32] = slopes.astype(np.float32)
    return result


def _bloom_slopes(num_heads: int) -> npt.NDArray[np.float32]:
    """transformers, modeling_falcon.py, build_alibi_tensor; ALiBi is arXiv 2108.12409."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = 2.0 ** (-8 / power * np.arange(1, power + 1))
    if power != num_heads:
        extra = 2.0 ** (-4 / power * np.arange(1, 1 + 2 * (num_heads - power), 2))
        slopes = np.concatenate([slopes, extra])
    result: npt.NDArray[np.float32] = slopes.astype(np.float32)
    return result


def _local_windows(config: Config) -> dict[int, int]:
    """Layer -> tokens that it sees, its own included, for GPT-Neo's local layers."""
    if config.get("model_type") != "gpt_neo":
        return {}
    kinds = [
        kind
        for pattern, count in config["attention_types"]
        for _ in range(count)
        for kind in pattern
    ]
    return {
        layer: int(config["window_size"]) for layer, kind in enumerate(kinds) if kind == "local"
    }


def _cut_into_chunks(model: ov.Model, chunked: Iterable[ov.Node]) -> None:
    """Give the chunked layers inputs of their own, for sequences that begin at each chunk."""
    places = {}
    for index, name in PLACES.items():
        shape = [] if name == "max_context_len" else [-1]
        places[index] = ops.parameter(shape, ov.Type.i32, name=CHUNK_PREFIX + name)
        places[index].output(0).get_tensor().set_names({CHUNK_PREFIX + name})
    for operation in chunked:
        for index, parameter in places.items():
            operation.input(index).replace_source_output(parameter.output(0))
    model.add_parameters(list(places.values()))
    model.validate_nodes_and_infer_types()


def _is_chunked(config: Config, layer: int) -> bool:
    """In transformers, Llama4TextConfig says which layers are chunked."""
    kinds = config.get("layer_types")
    if not config.get("attention_chunk_size"):
        return False
    if kinds:
        return bool(kinds[layer] == "chunked_attention")
    if not str(config.get("model_type")).startswith("llama4"):
        return False
    uses_rope = config.get("no_rope_layers")
    return bool(uses_rope[layer]) if uses_rope else (layer + 1) % 4 != 0
