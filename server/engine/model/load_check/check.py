"""Refuses a model whose graph does not compute the attention that its config.json describes."""

import logging
from collections.abc import Mapping
from typing import Any

import openvino as ov

from server.engine.model.load_check.declared import declared_layers
from server.engine.model.load_check.graph import attention_operations, found_layers, layer_of
from server.engine.model.load_check.layer_attention import LayerAttention, differences
from server.engine.model.load_check.rope import rope_difference
from server.engine.model.load_check.soft_caps import attention_cap, logits_cap_difference
from server.errors import ModelLoadError

__all__ = ["check_attention"]

logger = logging.getLogger(__name__)

NUM_SHOWN = 3
WHAT_TO_DO = (
    "The answers would be wrong. If config.json has been edited, restore it, since such a change "
    "needs a new export; otherwise export the model again with export_model, from its checkpoint"
)


def check_attention(
    model: ov.Model, config: Mapping[str, Any], chunk_size: int | None, context: int | None
) -> None:
    """Compare a transformed graph, all its inputs set, with `config`, the text model's part.

    `context` is the longest text that will be served; what only changes longer ones is not
    compared. Raises ModelLoadError, which names the layers and what config.json and the graph say,
    and LookupError, TypeError, ValueError or ArithmeticError for an incomplete config.json.
    """
    others = (rope_difference(model, config), logits_cap_difference(model, config))
    wrong = [*_layer_differences(model, config, chunk_size, context), *filter(None, others)]
    if wrong:
        more = f"; and {len(wrong) - NUM_SHOWN} more" if len(wrong) > NUM_SHOWN else ""
        raise ModelLoadError(f"{'; '.join(wrong[:NUM_SHOWN])}{more}. {WHAT_TO_DO}")
    cap = attention_cap(config)
    if cap is not None:
        logger.warning(
            "config.json says attn_logit_softcapping %g; attention is computed without it, as "
            "transformers' default attention and the exported model do",
            cap,
        )


def _layer_differences(
    model: ov.Model, config: Mapping[str, Any], chunk_size: int | None, context: int | None
) -> list[str]:
    operations = {layer_of(operation): operation for operation in attention_operations(model)}
    numbers = sorted(operations)
    declared = declared_layers(config, 1 + max(numbers, default=-1))
    found = found_layers([operations[number] for number in numbers], chunk_size)
    return [
        f"layer {number}: {difference}"
        for number, layer in zip(numbers, found, strict=True)
        for difference in differences(_limit(declared[number], context), _limit(layer, context))
    ]


def _limit(layer: LayerAttention, context: int | None) -> LayerAttention:
    return layer if context is None else layer.without_windows_from(context)
