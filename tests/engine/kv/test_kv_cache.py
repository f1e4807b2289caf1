"""Layouts of the KV cache, and its memory."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from support.cpu import needs_bf16

from server.engine.kv import kv_cache
from server.engine.kv.kv_cache import (
    CacheInput,
    DeviceKVCache,
    HostKVCache,
    bytes_per_block,
    cache_inputs,
)
from server.engine.model.device import Device
from server.engine.model.model_loader import load_model
from server.errors import ModelLoadError
from server.host.memory import RESERVATIONS

HEADS, SIZE = 2, 64
Shape = tuple[int, int, int]


@dataclass
class FakePort:
    name: str
    element_type: ov.Type
    shape: list[int]

    def get_any_name(self) -> str:
        return self.name

    def get_element_type(self) -> ov.Type:
        return self.element_type

    def get_partial_shape(self) -> ov.PartialShape:
        return ov.PartialShape(self.shape)


class FakeTensor:
    def __init__(self, element_type: ov.Type, shape: ov.Shape) -> None:
        self.element_type = element_type
        self.data = np.zeros(list(shape), np.float16)

    def get_element_type(self) -> ov.Type:
        return self.element_type

    def get_shape(self) -> ov.Shape:
        return ov.Shape(self.data.shape)


class FakeCompiledModel:
    """A model compiled for a GPU, with its remote context."""

    def __init__(self, num_layers: int, key: list[int], value: list[int]) -> None:
        self.inputs = [FakePort("input_ids", ov.Type.i64, [-1])]
        for layer in range(num_layers):
            self.inputs.append(FakePort(f"key_cache.{layer}", ov.Type.f16, [-1, *key]))
            self.inputs.append(FakePort(f"value_cache.{layer}", ov.Type.f16, [-1, *value]))

    def get_context(self) -> "FakeCompiledModel":
        return self

    def create_tensor(self, element_type: ov.Type, shape: ov.Shape, _: Any) -> FakeTensor:
        return FakeTensor(element_type, shape)


@pytest.mark.parametrize(
    ("precision", "key", "value", "bits"),
    [
        ("f32", (HEADS, 32, SIZE), (HEADS, 32, SIZE), 32),
        pytest.param("bf16", (HEADS, 32, SIZE), (HEADS, 32, SIZE), 16, marks=needs_bf16),
        ("u8", (HEADS, 40, SIZE), (HEADS, 32, SIZE + 8), 8),
        ("u4", (HEADS, 48, SIZE), (HEADS, 32, SIZE + 16), 4),
    ],
)
def test_cpu_layouts(model_f32: Path, precision: str, key: Shape, value: Shape, bits: int) -> None:
    hint = "bf16" if precision == "bf16" else "f32"
    model = load_model(
        model_f32, "CPU", {"KV_CACHE_PRECISION": precision, "INFERENCE_PRECISION_HINT": hint}
    )
    assert model.block_size == 32
    by_name = {i.name: i for i in model.kv_inputs}
    shapes = {"key_cache": key, "value_cache": value}
    for name, cache_input in by_name.items():
        shape = shapes[name.partition(".")[0]]
        assert cache_input.block_shape == shape
        assert cache_input.block_bytes == math.prod(shape) * bits // 8
    num_layers = len(by_name) // 2
    assert set(by_name) == {f"{kind}.{i}" for kind in shapes for i in range(num_layers)}
    assert bytes_per_block(model.kv_inputs) == sum(i.block_bytes for i in model.kv_inputs)
    cache = HostKVCache(model.kv_inputs, 3)
    for name, tensor in cache.tensors.items():
        assert tensor.byte_size == 3 * by_name[name].block_bytes
        assert tuple(tensor.shape) == (3, *by_name[name].block_shape)
    cache.close()


@pytest.mark.parametrize(
    ("key", "value", "block_size"),
    [([8, 128, 16], [8, 16, 128], 16), ([8, 256, 128], [8, 256, 128], 256)],
)
def test_gpu_layouts(key: list[int], value: list[int], block_size: int) -> None:
    inputs = cache_inputs(FakeCompiledModel(2, key, value))
    assert [i.name for i in inputs] == [
        "key_cache.0",
        "value_cache.0",
        "key_cache.1",
        "value_cache.1",
    ]
    assert Device("GPU.1").block_size(inputs) == block_size
    assert bytes_per_block(inputs) == 2 * 2 * 2 * 8 * 128 * block_size


def test_device_cache_is_made_and_copied_by_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = FakeCompiledModel(2, [8, 128, 16], [8, 16, 128])
    cache = DeviceKVCache(cache_inputs(compiled), 5, compiled)
    assert cache.tensors["key_cache.1"].data.shape == (5, 8, 128, 16)
    assert cache.tensors["value_cache.1"].data.shape == (5, 8, 16, 128)

    class View:
        def __init__(self, tensor: FakeTensor, block: int) -> None:
            self.data = tensor.data[block]

        def copy_to(self, other: "View") -> None:
            other.data[...] = self.data

        def copy_from(self, other: ov.Tensor) -> None:
            self.data[...] = other.data[0]

    monkeypatch.setattr(kv_cache, "_remote_block", View)
    for tensor in cache.tensors.values():
        tensor.data[2] = 7
    cache.copy_blocks([(2, 4), (4, 0)])
    for tensor in cache.tensors.values():
        assert [tensor.data[block].max() for block in range(5)] == [7, 0, 7, 0, 7]
    cache.clear_block(2)
    for tensor in cache.tensors.values():
        assert [tensor.data[block].max() for block in range(5)] == [7, 0, 0, 0, 7]
    cache.close()
    assert cache.tensors == {}


def test_memory_that_a_device_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = FakeCompiledModel(1, [8, 128, 16], [8, 16, 128])

    def refuse(*_: Any) -> None:
        raise RuntimeError("CL_OUT_OF_RESOURCES")

    monkeypatch.setattr(compiled, "create_tensor", refuse)
    size = 5 * 2 * 8 * 128 * 16
    with pytest.raises(ModelLoadError, match=rf"device refuses {size} bytes .*\(CL_OUT"):
        DeviceKVCache(cache_inputs(compiled), 5, compiled)


@pytest.fixture
def small_inputs() -> tuple[CacheInput, ...]:
    return (
        CacheInput("key_cache.0", ov.Type.u4, (2, 48, 64)),
        CacheInput("value_cache.0", ov.Type.f32, (2, 32, 64)),
    )


def test_host_cache_copies_whole_blocks_in_order(small_inputs: tuple[CacheInput, ...]) -> None:
    cache = HostKVCache(small_inputs, 4)
    values = cache.tensors["value_cache.0"].data
    values[1] = np.arange(values[1].size).reshape(values[1].shape)
    cache.copy_blocks([(1, 3), (3, 0), (2, 1)])
    np.testing.assert_array_equal(values[3], values[0])
    assert values[0].sum() > 0
    assert values[1].sum() == 0
    cache.clear_block(3)
    assert values[3].sum() == 0 < values[0].sum()
    del values
    cache.close()


def test_reserving_is_counted_until_closed_and_only_once(
    small_inputs: tuple[CacheInput, ...],
) -> None:
    before = RESERVATIONS.total_bytes
    cache = HostKVCache(small_inputs, 4)
    assert RESERVATIONS.total_bytes - before == 4 * bytes_per_block(small_inputs)
    cache.close()
    cache.close()
    assert RESERVATIONS.total_bytes == before


def test_memory_that_the_system_refuses_is_an_error(small_inputs: tuple[CacheInput, ...]) -> None:
    before = RESERVATIONS.total_bytes
    for num_blocks in (2**45, 2**62):
        with pytest.raises(ModelLoadError, match="choose a smaller cache_size or num_kv_blocks"):
            HostKVCache(small_inputs, num_blocks)
    assert RESERVATIONS.total_bytes == before
