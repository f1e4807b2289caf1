"""What differs between the CPU and GPUs; KV layouts of both are in tests/engine/kv."""

import logging
from typing import Any

import openvino as ov
import pytest

from server.engine.model import device as module
from server.engine.model.device import CpuDevice, Device, find_device


class FakeLayers:
    """Compiled layers with these properties and a hidden size of 64."""

    def __init__(self, precision: ov.Type, group_size: int) -> None:
        self._properties = {
            "INFERENCE_PRECISION_HINT": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": group_size,
        }

    def get_property(self, name: str) -> Any:
        return self._properties[name]

    def output(self, _: int) -> "FakeLayers":
        return self

    def get_partial_shape(self) -> ov.PartialShape:
        return ov.PartialShape([-1, 1, 64])


@pytest.mark.parametrize("name", ["GPU", "GPU.1", "AUTO:CPU", "CPUX"])
def test_only_the_cpu_itself_is_a_cpu(name: str) -> None:
    assert isinstance(find_device("CPU"), CpuDevice)
    device = find_device(name)
    assert (type(device), device.name, device.can_be_tuned) == (Device, name, False)


def test_a_gpu_gets_the_stated_properties_and_no_int8_head() -> None:
    stated = {"CACHE_DIR": "somewhere"}
    assert Device("GPU").compile_properties(ov.Core(), stated) == stated
    layers: Any = FakeLayers(ov.Type.bf16, 65536)
    assert not Device("GPU").quantizes_head(layers)
    assert Device("GPU").sampling_properties(layers) == {}


def test_a_cpu_gets_no_cache_folder(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stated = {"CACHE_DIR": "somewhere", "INFERENCE_PRECISION_HINT": "f32"}
    expected = {"INFERENCE_PRECISION_HINT": "f32"}
    assert CpuDevice("CPU").compile_properties(ov.Core(), stated) == expected
    assert "CACHE_DIR has no effect" in caplog.text


@pytest.mark.parametrize(
    ("precision", "group_size", "has_vnni", "is_int8"),
    [
        (ov.Type.bf16, 64, True, True),
        (ov.Type.bf16, 65536, True, True),
        # Without VNNI int8 sums saturate.
        (ov.Type.bf16, 65536, False, False),
        # Groups that are smaller than a row are not what was asked for.
        (ov.Type.bf16, 32, True, False),
        # In f32 the plugin quantises rows itself.
        (ov.Type.f32, 65536, True, False),
    ],
)
def test_the_head_is_int8_where_bf16_would_be_slower(
    monkeypatch: pytest.MonkeyPatch,
    precision: ov.Type,
    group_size: int,
    has_vnni: bool,
    is_int8: bool,
) -> None:
    monkeypatch.setattr(module, "has_vnni", lambda: has_vnni)
    layers: Any = FakeLayers(precision, group_size)
    assert CpuDevice("CPU").quantizes_head(layers) is is_int8
