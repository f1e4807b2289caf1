"""Positions that a graph counts by the step; Llama 4, which has such, is in the model zoo."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from server.engine.model.attention import NotExpressibleError, complete_attention
from server.engine.model.own_positions import find_uses_of_longest, use_own_positions
from server.host.openvino_core import shared_core


def _parameter(name: str, shape: list[int]) -> ov.Node:
    parameter = ops.parameter(shape, ov.Type.i32, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


def test_a_graph_that_computes_with_the_longest_sequence_is_not_paged() -> None:
    longest, ids = _parameter("max_context_len", []), _parameter("input_ids", [-1])
    model = ov.Model([ops.relu(ops.add(ids, longest))], [longest, ids])
    assert find_uses_of_longest(model) == ["Relu"]
    with pytest.raises(NotExpressibleError, match="the longest sequence of a step, with Relu"):
        complete_attention(model, {})


def test_a_count_whose_use_is_unknown_is_found() -> None:
    longest, ids = _parameter("max_context_len", []), _parameter("position_ids", [-1])
    first = ops.subtract(longest, ops.constant(1, ov.Type.i32))
    count = ops.range(first, longest, ops.constant(1, ov.Type.i32), ov.Type.i32)
    model = ov.Model([ops.relu(ops.add(ids, count))], [longest, ids])
    use_own_positions(model)
    assert find_uses_of_longest(model) == ["Relu"]


def test_positions_that_a_graph_counts_are_those_of_the_tokens() -> None:
    """As in Qwen3.5, whose rotary embedding has three positions for each token."""
    longest, positions = _parameter("max_context_len", []), _parameter("position_ids", [-1])
    first = ops.subtract(longest, ops.constant(1, ov.Type.i32))
    count = ops.range(first, longest, ops.constant(1, ov.Type.i32), ov.Type.i32)
    row = ops.reshape(count, ops.constant([1, 1, -1], ov.Type.i64), special_zero=False)
    shape = [
        ops.constant([3], ov.Type.i64),
        ops.shape_of(positions),
        ops.constant([1], ov.Type.i64),
    ]
    spread = ops.broadcast(row, ops.concat(shape, 0), broadcast_spec="BIDIRECTIONAL")
    model = ov.Model([spread], [longest, positions])
    use_own_positions(model)
    assert find_uses_of_longest(model) == []
    inputs = {"max_context_len": np.int32(50), "position_ids": np.array([3, 49], np.int32)}
    (found,) = shared_core().compile_model(model, "CPU")(inputs).values()
    assert found.tolist() == [[[3], [49]]] * 3


def test_a_table_may_be_as_long_as_the_longest_sequence() -> None:
    longest, ids = _parameter("max_context_len", []), _parameter("position_ids", [-1])
    zero, one = (ops.constant(value, ov.Type.i32) for value in (0, 1))
    table = ops.relu(ops.range(zero, longest, one, ov.Type.i32))
    rows = ops.gather(table, ids, ops.constant(0, ov.Type.i64))
    assert find_uses_of_longest(ov.Model([rows], [longest, ids])) == []


def test_a_longest_sequence_that_leads_to_no_result_is_not_looked_at() -> None:
    longest, ids = _parameter("max_context_len", []), _parameter("input_ids", [-1])
    unused = ops.relu(ops.add(ids, longest))
    assert find_uses_of_longest(ov.Model([ops.relu(ids)], [longest, ids])) == []
    assert unused.get_type_name() == "Relu"
