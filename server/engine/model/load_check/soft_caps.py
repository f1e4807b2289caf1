"""Soft caps: `cap * tanh(x / cap)` in place of x, as Gemma 2 has them for scores and for logits."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov

from server.engine.model.load_check.layer_attention import RELATIVE_TOLERANCE

__all__ = ["attention_cap", "logits_cap_difference"]

KEY = "final_logit_softcapping"
MAX_NODES = 12
"""Between the output of a model and its last matrix product."""


def attention_cap(config: Mapping[str, Any]) -> float | None:
    """The cap of attention scores.

    PagedAttention has none. transformers leave it out as well, unless they are told to use their
    eager or flash attention, and so does an exported graph.
    """
    cap = config.get("attn_logit_softcapping")
    return None if cap is None else float(cap)


def logits_cap_difference(model: ov.Model, config: Mapping[str, Any]) -> str | None:
    """How config.json and the graph differ in the soft cap of logits; None if they agree."""
    if KEY not in config:
        return None
    declared = 0.0 if config[KEY] is None else float(config[KEY])
    found = _logits_cap(model)
    if found is None or np.isclose(declared, found, rtol=RELATIVE_TOLERANCE):
        return None
    return f"logits: config.json says {_describe(declared)}, the graph has {_describe(found)}"


def _describe(cap: float) -> str:
    return f"{KEY} {cap:g}" if cap else "no soft cap"


def _logits_cap(model: ov.Model) -> float | None:
    """0.0 without one; None where the graph is another one than is known here."""
    node: Any = next((p.get_node() for p in model.outputs if "logits" in p.get_names()), None)
    for _ in range(MAX_NODES if node else 0):
        if node.get_type_name() == "MatMul":
            return 0.0
        sources = [port.get_node() for port in node.input_values()]
        if any(source.get_type_name() == "Tanh" for source in sources):
            return _factor(sources)
        node = sources[0]
        if not sources or node.get_type_name() in ("Constant", "Parameter"):
            return None
    return None


def _factor(sources: list[ov.Node]) -> float | None:
    """The constant that a product multiplies by."""
    constants = [_unconverted(source) for source in sources]
    return next((c.get_data(dtype=np.float32).item(0) for c in constants if _is_number(c)), None)


def _unconverted(node: ov.Node) -> ov.Node:
    return (
        _unconverted(node.input_value(0).get_node()) if node.get_type_name() == "Convert" else node
    )


def _is_number(node: ov.Node) -> bool:
    return bool(node.get_type_name() == "Constant" and math.prod(node.get_output_shape(0)) == 1)
