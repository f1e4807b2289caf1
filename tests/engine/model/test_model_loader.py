"""Loading a model, and the errors when that fails."""

import logging
import os
import re
import shutil
from pathlib import Path

import openvino as ov
import pytest
from openvino import opset13 as ops
from support.engine_helpers import F32

from server.engine.model.model_loader import load_model
from server.engine.system.file_lease import FileLease
from server.errors import ModelLoadError
from server.host.model_files import MODEL_FILE


@pytest.fixture
def copy(model_f32: Path, tmp_path: Path) -> Path:
    for path in model_f32.glob("openvino_model.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def refusal(folder: Path, device: str = "CPU", **properties: str | int | float | bool) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_model(folder, device, properties)
    message = str(caught.value)
    assert str(folder) in message or "device" in message
    assert "Exception from" not in message
    return message


def save(folder: Path, model: ov.Model) -> None:
    ov.save_model(model, folder / MODEL_FILE, compress_to_fp16=False)


def test_weights_stay_compressed_from_half_of_zeros_on(model_f32: Path) -> None:
    name = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
    assert float(load_model(model_f32, "CPU", {}).layers.get_property(name)) == 0.5
    stated = load_model(model_f32, "CPU", {name: 0.8})
    assert float(stated.layers.get_property(name)) == pytest.approx(0.8)


def test_a_loaded_model_is_described(model_f32: Path) -> None:
    model = load_model(model_f32, "CPU", F32)
    assert (model.block_size, model.device.name, model.has_position_ids) == (32, "CPU", True)
    names = {name for port in model.layers.inputs for name in port.get_names()}
    assert {"sampled_tokens_indices", "past_lens", "key_cache.0", "value_cache.0"} <= names
    output = model.output
    num_tokens = output.num_tiles * output.tile_size
    assert model.head.output(0).get_partial_shape()[-1].get_length() == num_tokens
    assert 0 <= num_tokens - output.vocab_size < output.tile_size


def test_without_a_device_a_gpu_is_used_or_else_the_cpu(model_f32: Path) -> None:
    devices = ov.Core().available_devices
    expected = "GPU" if any(name.startswith("GPU") for name in devices) else "CPU"
    assert load_model(model_f32, "", {}).device.name == expected


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_missing_file_is_named(copy: Path, suffix: str) -> None:
    path = (copy / MODEL_FILE).with_suffix(suffix)
    path.unlink()
    assert refusal(copy).startswith(f"{path} not found; a model folder holds {MODEL_FILE}")


def test_truncated_weights(copy: Path) -> None:
    path = (copy / MODEL_FILE).with_suffix(".bin")
    path.write_bytes(path.read_bytes()[:1000])
    assert refusal(copy).startswith(f"{copy / MODEL_FILE}: OpenVINO cannot read it: ")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 100, b"<net></net>"], ids=str)
def test_a_garbage_xml(copy: Path, content: bytes) -> None:
    (copy / MODEL_FILE).write_bytes(content)
    assert refusal(copy).startswith(f"{copy / MODEL_FILE}: OpenVINO cannot read it: ")


def test_a_model_without_state(tmp_path: Path) -> None:
    data = ops.parameter([-1, 4], ov.Type.f32, name="data")
    save(tmp_path, ov.Model([ops.relu(data)], [data], "relu"))
    assert "not a stateful language model: it has no states" in refusal(tmp_path)


def test_an_unknown_device(model_f32: Path) -> None:
    message = refusal(model_f32, "FOO")
    assert "for device 'FOO'" in message
    assert re.search(r"available devices: .*CPU", message)


@pytest.mark.parametrize("device", ["AUTO", "AUTO:CPU", "HETERO:CPU"])
def test_a_device_that_stands_for_several_is_refused(model_f32: Path, device: str) -> None:
    assert f"device '{device}' does not report its memory" in refusal(model_f32, device)


def test_an_unknown_property(model_f32: Path) -> None:
    message = refusal(model_f32, NUM_STREEMS=1)
    assert 'with plugin_config {"NUM_STREEMS": 1}: ' in message
    assert "Unsupported property NUM_STREEMS by CPU plugin" in message


@pytest.mark.parametrize("value", ["u7", 7, True])
def test_a_property_of_the_wrong_value_or_type(model_f32: Path, value: str | int) -> None:
    message = refusal(model_f32, KV_CACHE_PRECISION=value)
    assert "for property key KV_CACHE_PRECISION. Supported values:" in message


def test_a_failed_load_lets_others_write_to_the_weights(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The thread that makes way for writers would hide it.
    monkeypatch.setattr(FileLease, "look", lambda _: None)
    with pytest.raises(ModelLoadError) as kept:
        load_model(copy, "CPU", {"NUM_STREEMS": 1})
    weights = (copy / MODEL_FILE).with_suffix(".bin")
    # It raises BlockingIOError where somebody holds a lease.
    os.close(os.open(weights, os.O_WRONLY | os.O_NONBLOCK))
    assert "NUM_STREEMS" in str(kept.value)


def test_an_integer_beyond_any_property(model_f32: Path) -> None:
    assert "cannot compile it" in refusal(model_f32, NUM_STREAMS=2**70)


def test_inputs_that_text_generation_does_not_provide(copy: Path) -> None:
    model = ov.Core().read_model(copy / MODEL_FILE)
    extra = ops.parameter([-1, 1], ov.Type.f32, name="pixel_values")
    extra.output(0).get_tensor().set_names({"pixel_values"})
    logits = model.output("logits").get_node().input_value(0)
    model.output("logits").get_node().input(0).replace_source_output(
        ops.add(logits, ops.reduce_sum(extra, [0, 1])).output(0)
    )
    model.add_parameters([extra])
    model.validate_nodes_and_infer_types()
    for path in copy.iterdir():
        path.unlink()
    save(copy, model)
    assert "needs the inputs pixel_values, which text generation does not provide" in refusal(copy)


def test_nothing_is_cached_for_the_cpu(
    model_f32: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    load_model(model_f32, "CPU", {**F32, "CACHE_DIR": str(tmp_path / "cache")})
    assert not (tmp_path / "cache").exists(), "OpenVINO could not read it again"
    assert "CACHE_DIR has no effect" in caplog.text
