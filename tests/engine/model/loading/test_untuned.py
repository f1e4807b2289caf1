"""What a model gets that is not tuned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from server.engine.config import EngineConfig
from server.engine.model.device import Device, find_device
from server.engine.model.loading import untuned
from server.engine.model.loading.graph_form import GraphForm, read_form
from server.engine.model.model_loader import load_model
from server.engine.model.tuning import tuned_model

CPU = find_device("CPU")
ROW_WISE = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "65536"}


@pytest.fixture
def form(model_f32: Path) -> GraphForm:
    return read_form(model_f32, is_mapped=True, has_head=True)


@pytest.fixture
def int8_form(form: GraphForm) -> GraphForm:
    return with_weights(form, np.int8)


def with_weights(form: GraphForm, dtype: Any) -> GraphForm:
    """With other layers, whose one matrix has weights of this type."""
    hidden = ops.parameter([-1, 8], ov.Type.f32)
    weights = ops.convert(ops.constant(np.ones((8, 8), dtype)), "f32")
    layers = ov.Model([ops.matmul(hidden, weights, False, True)], [hidden])
    return replace(form, parts=replace(form.parts, layers=layers))


@pytest.fixture(autouse=True)
def has_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untuned, "has_int8_amx", lambda: True)


def test_symmetric_int8_weights_get_what_fused_mlps_need(int8_form: GraphForm) -> None:
    stated = {"KV_CACHE_PRECISION": "u8"}
    assert untuned.set_untuned(int8_form, CPU, stated) == {**stated, **ROW_WISE}


@pytest.mark.parametrize(
    "stated",
    [
        {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"},
        {"INFERENCE_PRECISION_HINT": "f32"},
        {"EXECUTION_MODE_HINT": "ACCURACY"},
    ],
)
def test_what_is_stated_about_precision_stays(int8_form: GraphForm, stated: Any) -> None:
    assert untuned.set_untuned(int8_form, CPU, stated) == stated


def test_other_weights_models_and_devices_get_nothing(
    form: GraphForm, int8_form: GraphForm
) -> None:
    classifier = replace(int8_form, parts=replace(int8_form.parts, num_embeddings=9))
    with_states = replace(int8_form, attention=None)
    for other in (form, with_weights(form, np.uint8), classifier, with_states):
        assert untuned.set_untuned(other, CPU, {}) == {}
    assert untuned.set_untuned(int8_form, Device("GPU"), {}) == {}


def test_a_cpu_without_amx_gets_nothing(
    int8_form: GraphForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untuned, "has_int8_amx", lambda: False)
    assert untuned.set_untuned(int8_form, CPU, {}) == {}


@pytest.mark.parametrize("auto_tune", [True, False])
def test_what_tuning_has_chosen_is_not_completed(
    model_f32: Path, monkeypatch: pytest.MonkeyPatch, auto_tune: bool
) -> None:
    monkeypatch.setattr(untuned, "has_int8_matrices", lambda _: True)
    monkeypatch.setattr(tuned_model, "load_model", load_model)  # not the shared ones
    monkeypatch.setattr(tuned_model, "tune", lambda *_: tuned_model.NO_TUNING)
    model = tuned_model.TunedModel(EngineConfig(model_f32, auto_tune=auto_tune), None).load()
    group_size = model.layers.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
    assert (int(group_size) == 65536) is not auto_tune
