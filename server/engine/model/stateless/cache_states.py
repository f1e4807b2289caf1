"""Gives a decoder that was exported without a KV cache the states of one.

Embedders are exported for the task feature-extraction: the graph computes all positions of all
texts from the first token on. The PagedAttention transformation looks for a KV cache that is kept
in states. So this adds one: what an attention reads becomes the states and, behind them, the keys
and values of the new tokens.
"""

from collections.abc import Mapping
from typing import Any

import openvino as ov
from openvino import opset13 as ops
from openvino.op.util import Variable, VariableInfo

from server.engine.model.stateless.causality import (
    ATTENTION,
    check_causality,
    count_positions,
    output_port,
)

__all__ = ["add_cache_states", "has_cache_states"]

# How the keys and values of a group of query heads are repeated for each of them.
REPETITION = ("Reshape", "Broadcast", "Unsqueeze")


def has_cache_states(model: ov.Model) -> bool:
    """Whether a model was exported with a KV cache, or other states."""
    return bool(model.get_sinks())


def add_cache_states(model: ov.Model, config: Mapping[str, Any]) -> ov.Model:
    """A model with a KV cache in states, made of the nodes of a stateless one.

    Raises NotExpressibleError for a graph in which a position sees later ones, or that mixes
    positions outside of attention; `model` is not changed then.
    """
    check_causality(model, config)
    inputs = {name: port.get_node() for port in model.inputs for name in port.get_names()}
    positions = inputs.get("position_ids")
    counts = [] if positions else count_positions(model)
    if counts:
        positions = _input("position_ids", [-1, -1], ov.Type.i64)
        _replace(counts, positions)
    beams = _input("beam_idx", [-1], ov.Type.i32)
    shape = ops.shape_of(inputs["input_ids"])
    num_texts = ops.gather(shape, ops.constant([0]), ops.constant(0))
    attentions = [node for node in model.get_ordered_ops() if node.get_type_name() == ATTENTION]
    sinks = [
        _add_state(_before_repetition(attention.input(index)), name, beams, num_texts)
        for layer, attention in enumerate(attentions)
        for index, name in ((1, f"key.{layer}"), (2, f"value.{layer}"))
    ]
    others = [beams, *([positions] if counts else [])]
    result = ops.result(output_port(model))
    result.output(0).set_names(model.outputs[0].get_names())
    parameters = [*model.get_parameters(), *others]
    return ov.Model([result], sinks, parameters, model.get_friendly_name())


def _replace(counts: list[ov.Output], positions: ov.Node) -> None:
    """Let an input take the place of counting from 0."""
    for counted in counts:
        own = ops.convert(positions, counted.get_element_type())
        for target in counted.get_target_inputs():
            target.replace_source_output(own.output(0))


def _add_state(reader: ov.Input, name: str, beams: ov.Node, num_texts: ov.Node) -> ov.Node:
    """Let an input [texts, heads, tokens, size] read a state and the new tokens behind it.

    Returns the operation that writes the state.
    """
    new = reader.get_source_output()
    heads, size = (new.get_partial_shape()[axis].get_length() for axis in (1, 3))
    info = VariableInfo()
    info.variable_id, info.data_type = name, new.get_element_type()
    info.data_shape = ov.PartialShape([-1, heads, -1, size])
    variable = Variable(info)
    empty_shape = ops.concat([num_texts, *(ops.constant([n]) for n in (heads, 0, size))], 0)
    empty = ops.broadcast(ops.constant(0, new.get_element_type()), empty_shape)
    past = ops.gather(ops.read_value(empty, variable), beams, ops.constant(0))
    whole = ops.concat([past, new], 2)
    reader.replace_source_output(whole.output(0))
    return ops.assign(whole, variable)


def _before_repetition(reader: ov.Input) -> ov.Input:
    """The input where keys or values are not repeated for the heads of a group yet."""
    found = reader
    for kind in REPETITION:
        node = found.get_source_output().get_node()
        if node.get_type_name() != kind:
            return reader
        found = node.input(0)
    return found


def _input(name: str, shape: list[int], element_type: ov.Type) -> ov.Node:
    parameter = ops.parameter(shape, element_type, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter
