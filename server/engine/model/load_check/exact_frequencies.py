"""Gives a graph the rotary frequencies that were rounded when its weights were compressed.

NNCF takes the frequencies of Cohere for weights, where they are the constant factor of a matrix
product: it makes them integers times a scale in f16. The angle of a token is its position times a
frequency, so that one that is wrong by 1/2000 turns token 2,000 by a whole radian. config.json says
what the frequencies are.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from server.engine.model.load_check.rope import MAX_FREQUENCIES, MAX_NODES, declared_ropes

__all__ = ["restore_frequencies"]

Doubles = npt.NDArray[np.float64]

# Of 255 times an f16, which is a multiple of 6e-8.
RELATIVE_ROUNDING, ABSOLUTE_ROUNDING = 2e-3, 2e-5


def restore_frequencies(model: ov.Model, config: Mapping[str, Any]) -> None:
    """Replace compressed frequencies that are those of config.json but for rounding.

    Others stay as they are, for the check of rotary positions to judge.
    Raises LookupError, TypeError, ValueError or ArithmeticError for incomplete parameters.
    """
    ropes = declared_ropes(config)
    for product in list(_compressed_frequencies(model)) if ropes else []:
        rounded = _decompress(product)
        for rope in ropes:
            exact = rope.frequencies(rounded.size, config).reshape(rounded.shape)
            if np.allclose(rounded, exact, rtol=RELATIVE_ROUNDING, atol=ABSOLUTE_ROUNDING):
                _replace(product, exact)
                break


def _compressed_frequencies(model: ov.Model) -> Iterator[ov.Node]:
    """Products of integers and a scale from which cosines are computed."""
    known: set[str] = set()
    for cosine in [node for node in model.get_ordered_ops() if node.get_type_name() == "Cos"]:
        waiting = [cosine]
        for _ in range(MAX_NODES):
            node = waiting.pop(0) if waiting else cosine
            if node.get_name() in known:
                continue
            known.add(node.get_name())
            if _is_compressed(node):
                yield node
            else:
                waiting += [port.get_node() for port in node.input_values()]


def _is_compressed(node: ov.Node) -> bool:
    if node.get_type_name() != "Multiply" or node.get_output_partial_shape(0).is_dynamic:
        return False
    integers, scale = (_without_conversion(port.get_node()) for port in node.input_values())
    if integers.get_type_name() == "Subtract":
        integers = _without_conversion(integers.input_value(0).get_node())
    return (
        integers.get_type_name() == scale.get_type_name() == "Constant"
        and bool(integers.get_output_element_type(0).is_integral())
        and 1 < math.prod(node.get_output_shape(0)) <= MAX_FREQUENCIES
    )


def _decompress(product: ov.Node) -> Doubles:
    """f64 of the product's shape: (integers - zero point) x scale."""
    integers, scale = (_without_conversion(port.get_node()) for port in product.input_values())
    if integers.get_type_name() == "Constant":
        return _values(integers) * _values(scale)
    first, zero = (_without_conversion(port.get_node()) for port in integers.input_values())
    return (_values(first) - _values(zero)) * _values(scale)


def _values(constant: ov.Node) -> Doubles:
    values: Doubles = constant.get_data(dtype=np.float64)
    return values


def _replace(product: ov.Node, exact: Doubles) -> None:
    constant = ops.constant(exact.astype(np.float32))
    for target in product.output(0).get_target_inputs():
        consumer = target.get_node()
        if consumer.get_type_name() == "Convert":
            for user in consumer.output(0).get_target_inputs():
                user.replace_source_output(constant.output(0))
        elif product.get_output_element_type(0) == ov.Type.f32:
            target.replace_source_output(constant.output(0))


def _without_conversion(node: ov.Node) -> ov.Node:
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node
