"""Sets what OpenVINO's PagedAttention transformation drops: ALiBi slopes and local windows.

The transformation (SDPAToPagedAttention) replaces the attention mask of a model. It understands
BLOOM's ALiBi and the sliding windows of transformers' usual masks. It drops all else without an
error, and the model would answer wrongly. Here config.json says what each layer needs.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from server.errors import ModelLoadError

__all__ = ["complete_attention"]

Config = Mapping[str, Any]

OP_TYPE = "PagedAttentionExtension"
# Inputs of the operation (openvino, PagedAttentionExtension).
KEY_CACHE, WINDOW, SLOPES = 3, 10, 11


def complete_attention(model: ov.Model, config: Config) -> None:
    """Set ALiBi slopes and local windows that config.json asks for and the graph lacks.

    Raises ModelLoadError for a model whose attention is not possible here.
    """
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
