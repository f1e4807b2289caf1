"""ALiBi's slopes, as transformers computes them (ALiBi is arXiv 2108.12409)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Config = Mapping[str, Any]
Slopes = npt.NDArray[np.float32]


def asks_for_alibi(config: Config) -> bool:
    """Whether a model adds ALiBi's bias to the scores.

    transformers' MPT and BLOOM always do, whatever `attn_config` says.
    """
    attention = config.get("attn_config")
    nested = attention.get("alibi") if isinstance(attention, dict) else None
    return bool(
        config.get("model_type") in ("mpt", "bloom")
        or config.get("alibi")
        or config.get("use_alibi")
        or nested
        or config.get("position_embedding_type") == "alibi"
    )


def alibi_slopes(config: Config) -> Slopes | None:
    """f32[heads]; empty for a Falcon without ALiBi, None for a kind of model that is not known."""
    match config.get("model_type"):
        case "mpt":
            return _mpt_slopes(int(config["n_heads"]))
        case "bloom":
            key = "n_head" if "n_head" in config else "num_attention_heads"
            return _bloom_slopes(int(config[key]))
        case "falcon" if asks_for_alibi(config):
            num_heads = int(config["num_attention_heads"])
            # FalconAttention adds the bias before it scales the scores, unlike BLOOM.
            return _bloom_slopes(num_heads) / np.float32(
                math.sqrt(int(config["hidden_size"]) // num_heads)
            )
        case "falcon":
            return np.zeros(0, np.float32)
        case _:
            return None


def _mpt_slopes(num_heads: int) -> Slopes:
    """transformers, modeling_mpt.py, build_mpt_alibi_tensor; it ignores `alibi_bias_max`."""
    num_steps = 2 ** math.ceil(math.log2(num_heads))
    slopes = 2.0 ** -(np.arange(1, num_steps + 1) * 8 / num_steps)
    if num_steps != num_heads:
        slopes = np.concatenate([slopes[1::2], slopes[::2]])[:num_heads]
    result: Slopes = slopes.astype(np.float32)
    return result


def _bloom_slopes(num_heads: int) -> Slopes:
    """transformers, modeling_bloom.py and modeling_falcon.py, build_alibi_tensor."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = 2.0 ** (-8 / power * np.arange(1, power + 1))
    if power != num_heads:
        extra = 2.0 ** (-4 / power * np.arange(1, 1 + 2 * (num_heads - power), 2))
        slopes = np.concatenate([slopes, extra])
    result: Slopes = slopes.astype(np.float32)
    return result
