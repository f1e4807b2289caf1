"""What config.json says of attention is compared with the graph, both ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation
from support.engine_helpers import F32, change_config

from server.engine.model.load_check.alibi import alibi_slopes
from server.engine.model.load_check.check import check_attention
from server.engine.model.load_check.graph import SCALE, SINKS, SLOPES, WINDOW, attention_operations
from server.engine.model.model_info import read_config
from server.engine.model.model_loader import load_model
from server.errors import ModelLoadError
from server.host.openvino_core import shared_core

Config = dict[str, Any]
Check = Callable[..., None]

NUM_LAYERS, NUM_HEADS, CONTEXT = 5, 4, 2048
WINDOWED = {"model_type": "mistral", "sliding_window": 24}
FALCON = {"model_type": "falcon", "alibi": True, "hidden_size": 256, "num_attention_heads": 4}
SLOPES_OF_FALCON = alibi_slopes(FALCON)


@pytest.fixture
def model(model_f32: Path) -> ov.Model:
    """A Llama in PagedAttention form: full attention in all layers, plain rope, no soft caps."""
    found = shared_core().read_model(model_f32 / "openvino_model.xml")
    paged_attention_transformation(found)
    return found


@pytest.fixture
def check(model_f32: Path, model: ov.Model) -> Check:
    config = read_config(model_f32 / "config.json")
    return lambda keys, context=CONTEXT: check_attention(model, {**config, **keys}, None, context)


def set_input(model: ov.Model, index: int, value: npt.ArrayLike, layers: range) -> None:
    operations = attention_operations(model)
    for layer in layers:
        operations[layer].input(index).replace_source_output(ops.constant(value).output(0))


@pytest.mark.parametrize(
    ("index", "value", "keys", "said", "missing"),
    [
        (WINDOW, np.int32(24), WINDOWED, "a sliding window of 24 tokens", "no sliding window"),
        (SLOPES, SLOPES_OF_FALCON, FALCON, "ALiBi with slopes 0.03125 to", "no ALiBi"),
        (
            SINKS,
            np.ones((1, NUM_HEADS, 1, 1), np.float32),
            {"model_type": "gpt_oss", "layer_types": ["full_attention"] * NUM_LAYERS},
            "attention sinks",
            "no attention sinks",
        ),
        (
            SCALE,
            np.float32(0.05),
            {"model_type": "granite", "attention_multiplier": 0.05},
            "scores multiplied by 0.05",
            "scores multiplied by 0.125",
        ),
    ],
    ids=["window", "slopes", "sinks", "scale"],
)
def test_a_layer_that_lacks_something(
    model: ov.Model,
    check: Check,
    index: int,
    value: npt.ArrayLike,
    keys: Config,
    said: str,
    missing: str,
) -> None:
    set_input(model, index, value, range(NUM_LAYERS - 1))
    with pytest.raises(ModelLoadError) as caught:
        check(keys)
    assert f"layer 4: config.json says {said}" in str(caught.value)
    assert f"the graph has {missing}. The answers would be wrong." in str(caught.value)
    assert "layer 3" not in str(caught.value)
    set_input(model, index, value, range(NUM_LAYERS - 1, NUM_LAYERS))
    check(keys)


@pytest.mark.parametrize(
    ("index", "value", "keys", "found"),
    [
        (WINDOW, np.int32(24), {**WINDOWED, "sliding_window": None}, "sliding window of 24"),
        (WINDOW, np.int32(48), WINDOWED, "a sliding window of 48 tokens"),
        (SLOPES, SLOPES_OF_FALCON, {**FALCON, "alibi": False}, "ALiBi with slopes"),
        (SLOPES, 2 * SLOPES_OF_FALCON, FALCON, "slopes 0.0625 to"),  # type: ignore[operator]
    ],
    ids=["a window", "another window", "slopes", "other slopes"],
)
def test_a_layer_that_has_what_config_json_does_not_say(
    model: ov.Model, check: Check, index: int, value: npt.ArrayLike, keys: Config, found: str
) -> None:
    set_input(model, index, value, range(NUM_LAYERS))
    with pytest.raises(ModelLoadError, match=f"layer 0: config.json says .*{found}") as caught:
        check(keys)
    assert "layer 2" in str(caught.value)
    assert "and 2 more. " in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"sliding_window": 24},
        {"model_type": "mistral", "sliding_window": None},
        {"model_type": "mistral", "sliding_window": CONTEXT},
        {"model_type": "qwen2", "sliding_window": 24, "use_sliding_window": False},
        {
            "model_type": "qwen2",
            "sliding_window": 24,
            "use_sliding_window": True,
            "max_window_layers": NUM_LAYERS,
        },
        {"model_type": "gemma2", "query_pre_attn_scalar": 64, "layer_types": ["unknown"] * 9},
    ],
    ids=str,
)
def test_keys_that_change_nothing(check: Check, keys: Config) -> None:
    check({"max_window_layers": 28, **keys})


def test_windows_that_differ_by_layer(model: ov.Model, check: Check) -> None:
    keys = {
        "model_type": "a kind of next year",
        "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    }
    set_input(model, WINDOW, np.int32(24), range(0, NUM_LAYERS, 2))
    check(keys)
    set_input(model, WINDOW, np.int32(0), range(2, 3))
    with pytest.raises(ModelLoadError, match="layer 2: .* of 24 tokens, the graph has no sliding"):
        check(keys)


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        },
        {"rope_type": "default", "rope_theta": 1e6},
    ],
    ids=lambda scaling: str(scaling.get("rope_type", "yarn")),
)
def test_another_kind_of_rope(check: Check, scaling: Config) -> None:
    theta = scaling.get("rope_theta", 10000.0)
    with pytest.raises(ModelLoadError, match="rotary positions: config.json says kind") as caught:
        check({"rope_theta": theta, "rope_scaling": scaling, "rope_parameters": None})
    assert "new export" in str(caught.value)
    check({"rope_theta": 10000.0, "rope_scaling": {"type": "dynamic", "factor": 4.0}})


def test_a_soft_cap_of_logits(model: ov.Model, check: Check) -> None:
    with pytest.raises(ModelLoadError, match="says final_logit_softcapping 30, .* no soft cap"):
        check({"final_logit_softcapping": 30.0})
    result = model.output("logits").get_node()
    cap = ops.constant(np.float32(30))
    capped = ops.multiply(ops.tanh(ops.divide(result.input_value(0), cap)), cap)
    capped.output(0).get_tensor().set_names({"logits"})
    result.input(0).replace_source_output(capped.output(0))
    check({"final_logit_softcapping": 30.0})
    with pytest.raises(ModelLoadError, match="says no soft cap, .* has final_logit_softcapping 30"):
        check({"final_logit_softcapping": None})


def test_a_soft_cap_of_scores_is_named(check: Check, caplog: pytest.LogCaptureFixture) -> None:
    check({"attn_logit_softcapping": None})
    assert not caplog.records
    check({"attn_logit_softcapping": 50.0})
    assert "attn_logit_softcapping 50; attention is computed without it" in caplog.text


def test_a_load_that_is_refused_names_the_file(folder: Path) -> None:
    change_config(folder, **WINDOWED)
    with pytest.raises(ModelLoadError, match="layer 0: config.json says a sliding window") as found:
        load_model(folder, "CPU", F32)
    assert str(folder / "openvino_model.xml") in str(found.value)


@pytest.mark.parametrize(
    "keys",
    [
        {**WINDOWED, "sliding_window": "24"},
        {"model_type": "bloom", "n_head": 0},
        {"rope_scaling": {"rope_type": "linear"}},
        {"rope_scaling": {"rope_type": "llama3", "factor": "x"}},
        {"layer_types": ["full_attention"]},
    ],
    ids=str,
)
def test_a_config_that_says_too_little(folder: Path, keys: Config) -> None:
    change_config(folder, **keys)
    with pytest.raises(ModelLoadError, match="does not describe the attention of a"):
        load_model(folder, "CPU", F32)
