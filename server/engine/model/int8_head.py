"""Lets the last matrix product run in int8, where the plugin would expand its weights to bf16."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_LEVELS = 255
# A row of zeros is divided by something, too; and a logit that is divided by it again is finite.
_LEAST_SCALE = np.float32(1e-30)
# What stands between symmetric int8 weights and their product: constants of a scale, and casts.
_DEQUANTIZATION_OPS = frozenset({"Convert", "Multiply"})
_ARRANGING_OPS = frozenset({"Pad", "Reshape"})


def quantize_rows(head: ov.Model) -> bool:
    """Quantise each row of the head's input to int8 by its own largest value, in the graph.

    That is dynamic quantisation with one group for a row, as DYNAMIC_QUANTIZATION_GROUP_SIZE asks
    for; the CPU plugin has it for f32 inputs only, and for the fused MLPs. Written as a
    FakeQuantize of a row divided by its maximum, it becomes an int8 matrix product. Returns False,
    and changes nothing, where the weights are not i8 with one scale for each output channel.

    The scales of the rows become one more output of the head, f32[rows, 1], by which whoever reads
    a logit multiplies it: to do it here would be another pass over all logits. Only where the head
    computes with the product, a bias for example, the product is scaled here.
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
    # NaN and infinity, which int8 cannot express, come back as NaN.
    zero = ops.multiply(ops.reduce_sum(hidden, last_axis, keep_dims=True), np.float32(0))
    scale_or_nan = ops.add(scale, zero)
    if _is_only_arranged(product):
        shape = ops.constant([-1, 1], dtype=ov.Type.i64)
        head.add_results([ops.result(ops.reshape(scale_or_nan, shape, False))])
    else:
        _multiply(product, scale_or_nan)
    product.input(0).replace_source_output(rows.output(0))
    head.validate_nodes_and_infer_types()
    return True


def _is_only_arranged(product: ov.Node) -> bool:
    """Whether nothing is done to the product but what a factor of each row commutes with."""
    readers = [reader.get_node() for reader in product.output(0).get_target_inputs()]
    return all(
        node.get_type_name() == "Result"
        or (node.get_type_name() in _ARRANGING_OPS and _is_only_arranged(node))
        for node in readers
    )


def _multiply(product: ov.Node, scale: ov.Node) -> None:
    """Let all that reads a product read the scaled one."""
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
