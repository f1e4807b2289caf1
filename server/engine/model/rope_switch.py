"""Lets each sequence have its own rope factors in models with longrope.

Phi-3's longrope has short and long factors: a text of up to `original_max_position_embeddings`
tokens is read with the short ones, a longer one with the long ones, all of it (arXiv 2402.13753;
transformers, modeling_rope_utils.py, longrope_frequency_update). The exported graph chooses them
by the largest position of a step, so that one long text would change the answers to all others.
"""

from collections.abc import Iterator

import openvino as ov
from openvino import opset13 as ops

__all__ = ["LONG_ROPE_INPUT", "choose_rope_by_token", "has_rope_choice"]

LONG_ROPE_INPUT = "uses_long_rope"

# Between the choice of the factors and their product with the positions.
FREQUENCY_OPS = frozenset({"Convert", "Divide", "Multiply", "Power"})
# Between this product and the operation that picks the row of each token.
TABLE_OPS = frozenset({"Concat", "Convert", "Cos", "Multiply", "Sin"})


def choose_rope_by_token(model: ov.Model) -> bool:
    """Give a model the input `uses_long_rope` boolean[tokens]; False for a graph without a choice.

    The graph has Select(is_long, long, short) for f32[size] factors, and computes frequencies from
    them. Most graphs multiply these by the positions in a MatMul. PhiMoE's multiplies them by all
    numbers up to the longest sequence of the step, and each token takes a row of that table.
    """
    choice = _find_choice(model)
    if choice is None:
        return False
    frequencies = choice
    while (following := _only_consumer(frequencies)).get_type_name() in FREQUENCY_OPS:
        frequencies = following
    product = following
    while product.get_type_name() == "Unsqueeze":
        product = _only_consumer(product)
    if product.get_type_name() != "MatMul":
        return False
    positions = {name: port for port in model.inputs for name in port.get_names()}["position_ids"]
    gathers = (
        list(_gathers(product)) if _origin(product.input_value(0).get_node()) == "Range" else []
    )
    is_long = ops.parameter([-1], ov.Type.boolean, name=LONG_ROPE_INPUT)
    is_long.output(0).get_tensor().set_names({LONG_ROPE_INPUT})
    model.add_parameters([is_long])
    # [tokens, 1] chooses [tokens, size] factors, and [tokens, 1] scales of the table.
    for target in choice.input_value(0).get_target_inputs():
        target.replace_source_output(_unsqueeze(is_long.output(0), 1))
    if gathers:
        _make_rows(product, frequencies, positions, gathers)
    else:
        # The product then is [tokens, size, 1] x [tokens, 1, 1].
        product.input(0).replace_source_output(_unsqueeze(frequencies.output(0), -1))
    model.validate_nodes_and_infer_types()
    return True


def has_rope_choice(model: ov.Model) -> bool:
    """Whether a graph chooses the factors by the largest position of a step."""
    return _find_choice(model) is not None


def _find_choice(model: ov.Model) -> ov.Node | None:
    return next((node for node in model.get_ordered_ops() if _is_choice(node)), None)


def _is_choice(node: ov.Node) -> bool:
    if node.get_type_name() != "Select":
        return False
    condition, *factors = (node.input_value(i).get_node() for i in range(3))
    return (
        condition.get_type_name() == "Greater"
        and all(factor.get_type_name() == "Constant" for factor in factors)
        and all(len(factor.get_output_shape(0)) == 1 for factor in factors)
        and _origin(condition.input_value(0).get_node()) in ("Range", "ReduceMax")
    )


def _origin(node: ov.Node) -> str:
    """The type of the node that a number or a count of positions comes from."""
    while node.get_type_name() in ("Add", "Convert", "Gather", "Unsqueeze"):
        node = node.input_value(0).get_node()
    return str(node.get_type_name())


def _gathers(product: ov.Node) -> Iterator[ov.Node]:
    for target in product.output(0).get_target_inputs():
        consumer = target.get_node()
        if consumer.get_type_name() in TABLE_OPS:
            yield from _gathers(consumer)
        elif consumer.get_type_name() == "Gather":
            yield consumer


def _make_rows(
    product: ov.Node, frequencies: ov.Node, positions: ov.Output, gathers: list[ov.Node]
) -> None:
    """Let the table have a row for each token, in their order, in place of each position."""
    rows = _unsqueeze(ops.convert(positions, ov.Type.f32).output(0), 1)
    own_product = ops.multiply(rows, frequencies.output(0))
    for target in product.output(0).get_target_inputs():
        target.replace_source_output(own_product.output(0))
    num_tokens = ops.squeeze(ops.shape_of(positions, ov.Type.i64), ops.constant(0, ov.Type.i64))
    zero, one = (ops.constant(value, ov.Type.i64) for value in (0, 1))
    own_rows = _unsqueeze(ops.range(zero, num_tokens, one, ov.Type.i64).output(0), 1)
    for gather in gathers:
        gather.input(1).replace_source_output(own_rows)


def _only_consumer(node: ov.Node) -> ov.Node:
    """The consumer of a node; the node itself where it has none or several."""
    consumers = list(node.output(0).get_target_inputs())
    return consumers[0].get_node() if len(consumers) == 1 else node


def _unsqueeze(value: ov.Output, axis: int) -> ov.Output:
    return ops.unsqueeze(value, ops.constant(axis, dtype=ov.Type.i64)).output(0)
