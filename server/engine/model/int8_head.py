"""Lets the output head run in int8, where the CPU plugin would expand its weights to bf16."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_LEVELS = 255
# The scale of a row of zeros: not 0, and large enough that a logit divided by it is finite.
_LEAST_SCALE = np.float32(1e-30)
# Operations between symmetric int8 weights and their product: scales and casts.
_DEQUANTIZATION_OPS = frozenset({"Convert", "Multiply"})
_SHAPE_OPS = frozenset({"Pad", "Reshape"})


def quantize_rows(head: ov.Model) -> bool:
    """Quantise each row of the head's input to int8, with its largest value as the scale.

    This is dynamic quantisation with one group for a row, for which the CPU plugin has a property,
    DYNAMIC_QUANTIZATION_GROUP_SIZE, but only for f32 inputs and fused MLPs. Written as a
    FakeQuantize of the row divided by its scale, it becomes an int8 matrix product. Returns False,
    and changes nothing, where the weights are not i8 with one scale for each output channel.

    The scales become a second output of the head, f32[rows, 1]. A reader of a logit multiplies it
    by the scale, which saves a pass over all logits. Where an operation of the head needs the
    product's true values, to add a bias for example, the product is multiplied in the graph.
    """
    product = next(n for n in head.get_ordered_ops() if n.get_type_name() == "MatMul")
    if not _has_symmetric_weights(product):
        return False
    hidden = product.input_value(0)
    last_axis = ops.constant([-1], dtype=ov.Type.i64)
    largest = ops.reduce_max(ops.abs(hidden), last_axis, keep_dims=True)
    scale = ops.maximum(largest, ops.constant(_LEAST_SCALE))
    low, high = (ops.constant(np.float32(bound)) for bound in (-1, 1))
    rows = ops.fake_quantize(ops.divide(hidden, scale), low, high, low, high, _LEVELS)
    # Int8 has no NaN and infinity; such a row gets the scale NaN.
    zero = ops.multiply(ops.reduce_sum(hidden, last_axis, keep_dims=True), np.float32(0))
    scale_or_nan = ops.add(scale, zero)
    if _is_only_reshaped(product):
        shape = ops.constant([-1, 1], dtype=ov.Type.i64)
        head.add_results([ops.result(ops.reshape(scale_or_nan, shape, False))])
    else:
        _multiply(product, scale_or_nan)
    product.input(0).replace_source_output(rows.output(0))
    head.validate_nodes_and_infer_types()
    return True


def _is_only_reshaped(product: ov.Node) -> bool:
    """Whether rows may be scaled after all operations on the product instead of before them."""
    readers = [reader.get_node() for reader in product.output(0).get_target_inputs()]
    return all(
        node.get_type_name() == "Result"
        or (node.get_type_name() in _SHAPE_OPS and _is_only_reshaped(node))
        for node in readers
    )


def _multiply(product: ov.Node, scale: ov.Node) -> None:
    """Make all readers of a product read the scaled one."""
    readers = list(product.output(0).get_target_inputs())
    scaled = ops.multiply(product, scale)
    for reader in readers:
        reader.replace_source_output(scaled.output(0))


def _has_symmetric_weights(product: ov.Node) -> bool:
    weights = product.input_value(1).get_node()
    is_per_channel = True
    while weights.get_type_name() in _DEQUANTIZATION_OPS:
        if weights.get_type_name() == "Multiply":
            scale = weights.input_value(1).get_partial_shape()
            is_per_channel = scale.is_static and list(scale)[1:] == [1]
        weights = weights.input_value(0).get_node()
    is_int8 = weights.get_element_type() == ov.Type.i8
    return is_int8 and is_per_channel and weights.get_type_name() == "Constant"
