"""Finds out whether a stateless graph computes each position from it and earlier ones alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from server.engine.model.attention import NotExpressibleError
from server.engine.model.load_check.declared import declared_layers
from server.host.openvino_core import shared_core

__all__ = ["ATTENTION", "check_causality", "count_positions", "output_port"]

Bools = npt.NDArray[np.bool_]

ATTENTION = "ScaledDotProductAttention"
MASK = 3
INPUTS = frozenset({"input_ids", "attention_mask", "position_ids"})

# Operations that mix positions, or may do so in a way that is not judged here.
MIXING = ("Convolution", "GroupConvolution", "CumSum", "If", "Loop", "TensorIterator", "Sequence")

FEW_TOKENS = 9
KEPT, HIGHEST_MASKED = 0.0, -1e4
"""What a mask of numbers adds to a score."""


def output_port(model: ov.Model) -> ov.Output:
    """What computes [texts, tokens, size]: hidden states, or the scores of a classifier.

    A classifier gives the scores of the last token alone; this is before it chooses them. Raises
    NotExpressibleError where there is neither.
    """
    sources = [port.get_node().input_value(0) for port in model.outputs]
    found = next((port for port in sources if port.get_partial_shape().rank == 3), None)
    if found is not None:
        return found
    choice = _find_choice(model)
    if choice is None:
        raise NotExpressibleError("it has no output of three dimensions")
    return _through(choice.input_value(0), ("Reshape",))


def _find_choice(model: ov.Model) -> ov.Node | None:
    """The node by which a classifier chooses a token of each text, from [texts * tokens, size]."""
    if len(model.outputs) != 1:
        return None
    chosen = _through(model.outputs[0].get_node().input_value(0), ("Convert", "Reshape", "Squeeze"))
    node = chosen.get_node()
    if node.get_type_name() != "Gather":
        return None
    product = _through(node.input_value(0), ("Reshape",))
    is_product = product.get_node().get_type_name() in ("MatMul", "Add")
    return node if is_product and product.get_partial_shape().rank == 3 else None


def _through(port: ov.Output, kinds: tuple[str, ...]) -> ov.Output:
    """The value before these operations."""
    while port.get_node().get_type_name() in kinds:
        port = port.get_node().input_value(0)
    return port


def count_positions(model: ov.Model) -> list[ov.Output]:
    """The values [1, tokens] that count the positions from 0, for more than masks.

    Raises NotExpressibleError where they are counted in another way.
    """
    counts = [node for node in _live(model) if _is_count(node.input_values())]
    for node in counts:
        if node.get_type_name() != "Unsqueeze" or node.get_output_partial_shape(0).rank != 2:
            raise NotExpressibleError(
                f"it counts positions for a node of type {node.get_type_name()}"
            )
    ports = [node.output(0) for node in counts]
    for found in _evaluate(model, ports, FEW_TOKENS):
        if not np.array_equal(found, np.arange(FEW_TOKENS)[None]):
            raise NotExpressibleError("its positions do not begin at 0")
    return ports


def check_causality(model: ov.Model, config: Mapping[str, Any]) -> None:
    """Raise NotExpressibleError unless positions see only themselves and earlier ones.

    Each attention is judged by its mask, computed for a few tokens, and for more than its window
    has. Elsewhere, no operation may mix positions.
    """
    names = {port.get_any_name() for port in model.inputs}
    if unknown := names - INPUTS:
        raise NotExpressibleError(f"it has the inputs {', '.join(sorted(unknown))}")
    live = list(_live(model))
    mixing = sorted({node.get_type_name() for node in live if _mixes_positions(node)})
    if mixing:
        raise NotExpressibleError(f"it may mix positions by {', '.join(mixing)}")
    if any("attention_mask" in port.get_names() for node in live for port in node.outputs()):
        raise NotExpressibleError("it reads attention_mask for more than masks")
    _check_choice(model, config)
    attentions = [node for node in model.get_ordered_ops() if node.get_type_name() == ATTENTION]
    if not attentions:
        raise NotExpressibleError(f"it has no {ATTENTION}")
    windows = [layer.window for layer in declared_layers(config, len(attentions))]
    if None in windows and config.get("sliding_window"):
        raise NotExpressibleError("config.json does not say which layers have a window")
    _check_masks(model, attentions, [window or 0 for window in windows])


def _live(model: ov.Model) -> Iterator[ov.Node]:
    """The nodes that the hidden states are computed from, without masks and shapes."""
    seen: set[str] = set()
    waiting = [output_port(model).get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_name() in seen or node.get_type_name() == "ShapeOf":
            continue
        seen.add(node.get_name())
        yield node
        sources = node.input_values()
        kept = sources[:MASK] if node.get_type_name() == ATTENTION else sources
        waiting += [port.get_node() for port in kept if node.get_type_name() != "Range"]


def _mixes_positions(node: ov.Node) -> bool:
    kind = node.get_type_name()
    if kind.endswith(MIXING):
        return True
    rank = node.get_output_partial_shape(0).rank
    if kind in ("Softmax", "SoftMax"):
        # Attention that is no operation of its own; a router of experts has fewer dimensions.
        return bool(rank.is_dynamic or rank.get_length() > 3)
    return kind.startswith("Reduce") and not _reduces_last_axis(node)


def _reduces_last_axis(node: ov.Node) -> bool:
    axes = node.input_value(1).get_node()
    rank = node.input_value(0).get_partial_shape().rank
    if axes.get_type_name() != "Constant" or rank.is_dynamic:
        return False
    return bool(np.all(np.isin(axes.get_data(), (-1, rank.get_length() - 1))))


def _is_count(sources: list[ov.Output]) -> bool:
    return any(port.get_node().get_type_name() == "Range" for port in sources)


def _check_choice(model: ov.Model, config: Mapping[str, Any]) -> None:
    """A classifier must choose the last token, which has seen all others."""
    choice = _find_choice(model)
    if choice is None:
        return
    # It takes the last token that is no padding.
    token_id = 1 if config.get("pad_token_id") == 0 else 0
    (found,) = _evaluate(model, [choice.input_value(1)], FEW_TOKENS, token_id)
    if found.reshape(-1).tolist() != [FEW_TOKENS - 1]:
        raise NotExpressibleError("it does not choose the last token of a text")


def _check_masks(model: ov.Model, attentions: list[ov.Node], windows: list[int]) -> None:
    for num_tokens in {FEW_TOKENS, *(window + FEW_TOKENS for window in windows if window)}:
        masks = _masks(model, attentions, num_tokens)
        for layer, (mask, window) in enumerate(zip(masks, windows, strict=True)):
            expected = _causal_mask(num_tokens, window)
            if mask is None and window:
                raise NotExpressibleError(f"its layer {layer} has no window")
            if mask is not None and not _is_mask(mask, expected):
                raise NotExpressibleError(f"its layer {layer} has another mask than a causal one")


def _masks(
    model: ov.Model, attentions: list[ov.Node], num_tokens: int
) -> list[npt.NDArray[Any] | None]:
    """The mask of each attention for a text; None where it is causal without one."""
    has_mask = [not node.get_attributes()["causal"] for node in attentions]
    read = [node for node, is_read in zip(attentions, has_mask, strict=True) if is_read]
    if any(node.get_input_size() <= MASK for node in read):
        raise NotExpressibleError("positions see later ones: an attention has no mask")
    # Layers share masks.
    ports = {_key(port): port for port in (node.input_value(MASK) for node in read)}
    values = dict(zip(ports, _evaluate(model, list(ports.values()), num_tokens), strict=True))
    return [
        values[_key(node.input_value(MASK))] if is_read else None
        for node, is_read in zip(attentions, has_mask, strict=True)
    ]


def _key(port: ov.Output) -> tuple[str, int]:
    return port.get_node().get_name(), port.get_index()


def _evaluate(
    model: ov.Model, ports: list[ov.Output], num_tokens: int, token_id: int = 0
) -> list[npt.NDArray[Any]]:
    """What the graph computes at some places for one text without padding, of equal tokens."""
    if not ports:
        return []
    results = [ops.result(port) for port in ports]
    part = ov.Model(results, model.get_parameters(), "part")
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    request = shared_core().compile_model(part, "CPU", settings).create_infer_request()
    text = {
        "input_ids": np.full((1, num_tokens), token_id, np.int64),
        "attention_mask": np.ones((1, num_tokens), np.int64),
        "position_ids": np.arange(num_tokens, dtype=np.int64)[None],
    }
    for port in request.model_inputs:
        request.set_tensor(port, ov.Tensor(text[port.get_any_name()]))
    request.infer()
    return [request.get_output_tensor(index).data.copy() for index in range(len(ports))]


def _is_mask(found: npt.NDArray[Any], kept: Bools) -> bool:
    """Whether a mask [..., tokens, tokens] keeps these scores as they are, and no others."""
    if found.dtype == np.bool_:
        return bool((found == kept).all())
    return bool((np.where(kept, found == KEPT, found < HIGHEST_MASKED)).all())


def _causal_mask(num_tokens: int, window: int) -> Bools:
    distance = np.subtract.outer(np.arange(num_tokens), np.arange(num_tokens))
    return np.asarray((distance >= 0) & (distance < (window or num_tokens)), np.bool_)
