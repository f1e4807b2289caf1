"""Models that are cut down to their first layers."""

from pathlib import Path

import pytest

from server.engine.model.load_check.graph import attention_operations
from server.engine.model.loading.graph_form import GraphForm, read_form
from server.engine.model.tuning.few_layers import cut_to_few_layers
from server.host.openvino_core import shared_core


@pytest.fixture
def form(model_f32: Path) -> GraphForm:
    return read_form(model_f32, is_mapped=True, has_head=True)


def test_few_layers_have_their_own_inputs_and_all_of_the_hidden_state(form: GraphForm) -> None:
    whole = form.parts.layers
    num_layers = len(attention_operations(whole))
    few = cut_to_few_layers(form, 1)
    assert (few.num_kept, few.num_layers) == (1, num_layers)
    assert few.factor == num_layers > 1
    layers = few.form.parts.layers
    assert len(attention_operations(layers)) == 1
    names = {port.get_any_name() for port in layers.inputs}
    assert {"key_cache.0", "input_ids"} < names
    assert "key_cache.1" not in names
    assert layers.output(0).get_partial_shape() == whole.output(0).get_partial_shape()
    shared_core().compile_model(layers, "CPU", {})


def test_a_model_with_no_more_layers_is_kept_as_it_is(form: GraphForm) -> None:
    few = cut_to_few_layers(form, 100)
    assert few.form is form
    assert few.factor == 1


def test_compiling_a_copy_does_not_change_the_others(form: GraphForm) -> None:
    few = cut_to_few_layers(form, 1)
    first, second = few.copy_form(), few.copy_form()
    assert first.parts.head is not second.parts.head
    assert first.parts.layers is few.form.parts.layers
