"""Branches in graphs: what they add, and where their input is taken from."""

from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from openvino import opset13 as ops

from server.engine.adapters.bound_adapters import pack_tiles
from server.engine.adapters.branches import TILES_INPUT, add_branches, find_products
from server.host.openvino_core import shared_core

NAME = "model.layers.0.mlp.up_proj"
NUM_IN, NUM_OUT, RANK = 8, 6, 2

Floats = npt.NDArray[np.float32]


def numbers(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model_of(*, is_quantized: bool = False, is_flat: bool = False, name: str = NAME) -> ov.Model:
    """x -> x * 2 -> a linear layer with a bias -> x * 3; the layer may be one of SmoothQuant."""
    x = ops.parameter([-1, NUM_IN] if is_flat else [-1, 1, NUM_IN], ov.Type.f32, name="x")
    x.output(0).get_tensor().set_names({"x"})
    source = ops.multiply(x, np.float32(2))
    if is_quantized:
        source = ops.multiply(source, np.float32(0.5), name="up/nncf_smooth_quant")
        low, high = np.float32(-4), np.float32(4)
        source = ops.fake_quantize(source, low, high, low, high, 255)
    weights = ops.constant(numbers(NUM_OUT, NUM_IN))
    product = ops.matmul(source, weights, False, True)
    product.set_friendly_name(f"__module.{name}/aten::linear/MatMul")
    bias = ops.constant(numbers(*([NUM_OUT] if is_flat else [1, 1, NUM_OUT])))
    return ov.Model([ops.multiply(ops.add(product, bias), np.float32(3))], [x], "small")


def run(model: ov.Model, inputs: dict[str, Any]) -> Floats:
    compiled = shared_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found: Floats = compiled(inputs)[0]
    return found


def rows_of(*rows: int) -> npt.NDArray[np.int32]:
    return np.array(rows, np.int32)


@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize("is_quantized", [False, True])
def test_each_row_gets_what_its_adapter_adds(*, is_quantized: bool, is_flat: bool) -> None:
    tiles = pack_tiles([rows_of(3), rows_of(0, 1, 4)])
    x = numbers(6, NUM_IN) if is_flat else numbers(6, 1, NUM_IN)
    plain = run(model_of(is_quantized=is_quantized, is_flat=is_flat), {"x": x}) / 3
    model = model_of(is_quantized=is_quantized, is_flat=is_flat)
    (module,) = add_branches(model, {NAME}, ov.Type.f32)
    a, b = numbers(2, NUM_IN, RANK, seed=1) / 9, numbers(2, RANK, NUM_OUT, seed=2) / 9
    inputs = {module.a_input: a, module.b_input: b, "x": x, TILES_INPUT: tiles}
    added = run(model, inputs) / 3 - plain
    expected = np.zeros_like(added)
    for row, tile in ((0, 1), (1, 1), (3, 0), (4, 1)):
        # The layer's input, before it was smoothed and quantised.
        expected[row] = (2 * x[row]) @ a[tile] @ b[tile]
    assert added == pytest.approx(expected, abs=2e-3)
    # Without adapters there are no tiles.
    inputs |= {TILES_INPUT: pack_tiles([]), module.a_input: a[:0], module.b_input: b[:0]}
    assert run(model, inputs) / 3 == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("name", ["model.layers.0.mlp.experts.1.up_proj"])
def test_products_that_cannot_have_branches(name: str) -> None:
    assert not find_products(model_of(name=name))


def test_a_tile_is_filled_up_with_a_row_of_its_own() -> None:
    tiles = pack_tiles([rows_of(0, 1, 2, 6, 7), rows_of(4)])
    assert tiles[0, :5].tolist() == [0, 1, 2, 6, 7]
    assert set(tiles[0, 5:].tolist()) == {7}
    assert set(tiles[1].tolist()) == {4}
    assert pack_tiles([]).size == 0
