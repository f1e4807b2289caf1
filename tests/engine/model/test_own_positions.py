"""Positions that a graph counts by the step; Llama 4, which has such, is in the model zoo."""

import openvino as ov
import pytest
from openvino import opset13 as ops

from server.engine.model.own_positions import use_own_positions
from server.errors import ModelLoadError


def _parameter(name: str, shape: list[int]) -> ov.Node:
    parameter = ops.parameter(shape, ov.Type.i32, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


def test_a_graph_that_computes_with_the_longest_sequence_is_refused() -> None:
    longest, ids = _parameter("max_context_len", []), _parameter("input_ids", [-1])
    model = ov.Model([ops.add(ids, longest)], [longest, ids])
    with pytest.raises(ModelLoadError, match="from the longest sequence of a step, with Add"):
        use_own_positions(model)


def test_a_count_whose_use_is_unknown_is_refused() -> None:
    longest, ids = _parameter("max_context_len", []), _parameter("position_ids", [-1])
    first = ops.subtract(longest, ops.constant(1, ov.Type.i32))
    count = ops.range(first, longest, ops.constant(1, ov.Type.i32), ov.Type.i32)
    model = ov.Model([ops.add(ids, count)], [longest, ids])
    with pytest.raises(ModelLoadError, match="with Range, Subtract"):
        use_own_positions(model)


def test_a_longest_sequence_that_leads_to_no_result_is_not_looked_at() -> None:
    longest, ids = _parameter("max_context_len", []), _parameter("input_ids", [-1])
    unused = ops.add(ids, longest)
    use_own_positions(ov.Model([ops.relu(ids)], [longest, ids]))
    assert unused.get_type_name() == "Add"
