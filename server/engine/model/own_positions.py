"""Lets each token have its own position in graphs that count positions by the step.

Llama 4 scales the queries of some layers by their position (transformers, Llama4TextAttention,
attn_temperature_tuning), which it counts from the number of cached tokens. Qwen3.5 counts the
positions of its rotary embedding in the same way. In PagedAttention form this number is that of the
longest sequence of the step: it would change the answers to all others.
"""

from collections.abc import Iterator

import openvino as ov
from openvino import opset13 as ops

__all__ = ["find_uses_of_longest", "use_own_positions"]

LONGEST = "max_context_len"
ATTENTION = "PagedAttentionExtension"
COUNTING = frozenset({"Add", "Convert", "Gather", "Range", "Subtract"})
# The number of dimensions of queries and of positions -> the shape with the tokens in its place.
SHAPES = {4: [-1, 1, 1, 1], 3: [1, -1, 1]}
ELEMENTWISE = frozenset({"Add", "Convert", "Divide", "Floor", "Log", "Multiply"})


def use_own_positions(model: ov.Model) -> None:
    """Take positions that the graph counts from `position_ids`.

    The graph has Range(max_context_len - 1, max_context_len, 1), computes a vector [1] from it, and
    reshapes that for queries [tokens, 1, heads, size], or for positions [3, tokens, 1].
    """
    positions = _input(model, "position_ids")
    if positions is None:
        return
    for count in [node for node in model.get_ordered_ops() if _is_count(node)]:
        if reshapes := _reshapes_of(count):
            _replace(count, positions, reshapes)
    model.validate_nodes_and_infer_types()


def find_uses_of_longest(model: ov.Model) -> list[str]:
    """The types of the nodes that compute a value from the longest sequence of a step.

    Attention may see it, and it may be the length of a table that begins at 0.
    """
    longest = _input(model, LONGEST)
    if longest is None:
        return []
    live = {node.get_name() for node in model.get_ordered_ops()}
    return sorted(set(_uses(longest, live)))


def _input(model: ov.Model, name: str) -> ov.Node | None:
    return next((port.get_node() for port in model.inputs if name in port.get_names()), None)


def _uses(node: ov.Node, live: set[str]) -> Iterator[str]:
    """The types of the nodes that make more than the length of a table of a number."""
    for target in node.output(0).get_target_inputs():
        consumer = target.get_node()
        kind = consumer.get_type_name()
        if consumer.get_name() not in live or kind == ATTENTION or _is_table(consumer):
            continue
        if kind in COUNTING:
            yield from _uses(consumer, live)
        else:
            yield kind


def _is_table(node: ov.Node) -> bool:
    first = node.input_value(0).get_node() if node.get_type_name() == "Range" else node
    return bool(first.get_type_name() == "Constant" and first.get_data() == 0)


def _is_count(node: ov.Node) -> bool:
    """Whether this counts the positions of the step's new tokens."""
    if node.get_type_name() != "Range":
        return False
    first = _without_conversion(node.input_value(0).get_node())
    if first.get_type_name() != "Subtract":
        return False
    return bool(_without_conversion(first.input_value(0).get_node()).get_friendly_name() == LONGEST)


def _reshapes_of(count: ov.Node) -> list[ov.Node]:
    """The nodes that give a count more dimensions; empty if one gives it an unknown shape."""
    ends = list(_ends(count))
    return ends if all(_num_dimensions(end) in SHAPES for end in ends) else []


def _num_dimensions(end: ov.Node) -> int:
    rank = end.get_output_partial_shape(0).rank
    is_known = end.get_type_name() == "Reshape" and rank.is_static
    return int(rank.get_length()) if is_known else 0


def _ends(node: ov.Node) -> Iterator[ov.Node]:
    for target in node.output(0).get_target_inputs():
        consumer = target.get_node()
        if consumer.get_type_name() in ELEMENTWISE:
            yield from _ends(consumer)
        else:
            yield consumer


def _replace(count: ov.Node, positions: ov.Node, reshapes: list[ov.Node]) -> None:
    own = ops.convert(positions, count.get_output_element_type(0))
    for target in count.output(0).get_target_inputs():
        target.replace_source_output(own.output(0))
    for reshape in reshapes:
        shape = ops.constant(SHAPES[_num_dimensions(reshape)], ov.Type.i64)
        reshape.input(1).replace_source_output(shape.output(0))


def _without_conversion(node: ov.Node) -> ov.Node:
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node
