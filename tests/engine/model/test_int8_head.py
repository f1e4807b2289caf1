import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from support.cpu import needs_vnni

from server.engine.model.int8_head import quantize_rows

pytestmark = needs_vnni

HIDDEN, VOCAB = 64, 128
RNG = np.random.default_rng(0)
WEIGHTS = RNG.integers(-127, 128, (VOCAB, HIDDEN)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.02, (VOCAB, 1)).astype(np.float16)


def head(
    weights: np.ndarray = WEIGHTS, scales: np.ndarray = SCALES, is_scaled: bool = True
) -> ov.Model:
    """A head as nncf writes it, weights times scales in f16, with an operation on the product."""
    hidden = ops.parameter([-1, 1, HIDDEN], ov.Type.f32)
    scaled = ops.multiply(ops.convert(ops.constant(weights), "f16"), ops.constant(scales))
    product = ops.matmul(hidden, ops.convert(scaled, "f32"), False, True)
    if is_scaled:
        return ov.Model([ops.result(ops.multiply(product, np.float32(2)))], [hidden])
    rows = ops.reshape(product, ops.constant([-1, VOCAB], dtype=ov.Type.i64), False)
    return ov.Model([ops.result(rows)], [hidden])


def run(model: ov.Model, hidden: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled([hidden])[0])


def exact(hidden: np.ndarray) -> np.ndarray:
    return np.asarray(2 * hidden @ (WEIGHTS.astype(np.float32) * SCALES.astype(np.float32)).T)


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e6])
def test_rows_of_any_size_keep_their_precision(size: float) -> None:
    hidden = RNG.normal(size=(5, 1, HIDDEN)).astype(np.float32) * np.float32(size)
    model = head()
    assert quantize_rows(model)
    expected = exact(hidden)
    assert np.abs(run(model, hidden) - expected).max() < 0.01 * np.abs(expected).max()


def test_the_scale_is_an_output_if_the_product_is_only_reshaped() -> None:
    hidden = RNG.normal(size=(5, 1, HIDDEN)).astype(np.float32) * 30
    hidden[3, 0, 7] = np.nan
    model = head(is_scaled=False)
    assert quantize_rows(model)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rows, scales = compiled([hidden]).values()
    assert scales.shape == (5, 1)
    assert np.isfinite(rows).all()
    assert np.isnan(scales[:, 0]).tolist() == [False, False, False, True, False]
    logits, expected = np.delete(rows * scales, 3, axis=0), np.delete(exact(hidden) / 2, 3, axis=0)
    assert np.abs(logits - expected[:, 0]).max() < 0.01 * np.abs(expected).max()


def test_rows_are_scaled_one_by_one() -> None:
    hidden = RNG.normal(size=(2, 1, HIDDEN)).astype(np.float32)
    hidden[1] *= 1000
    model = head()
    quantize_rows(model)
    alone, together = run(model, hidden[:1]), run(model, hidden)[:1]
    np.testing.assert_array_equal(alone, together)


def test_a_row_of_zeros_gives_zeros() -> None:
    model = head()
    quantize_rows(model)
    assert (run(model, np.zeros((1, 1, HIDDEN), np.float32)) == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_make_the_row_nan(bad: float) -> None:
    hidden = RNG.normal(size=(2, 1, HIDDEN)).astype(np.float32)
    hidden[1, 0, 3] = bad
    model = head()
    quantize_rows(model)
    logits = run(model, hidden)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()


def test_the_product_runs_in_int8() -> None:
    model = head()
    quantize_rows(model)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    primitives = [
        node.get_rt_info()["primitiveType"].astype(str)
        for node in compiled.get_runtime_model().get_ordered_ops()
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
    ]
    assert len(primitives) == 1
    assert primitives[0].endswith("i8")


@pytest.mark.parametrize(
    "model",
    [
        head(weights=np.abs(WEIGHTS).astype(np.uint8)),
        head(scales=np.repeat(SCALES, HIDDEN, axis=1)),
        head(weights=WEIGHTS.astype(np.float16)),
    ],
    ids=["unsigned", "scales of parts of a channel", "not quantised"],
)
def test_other_weights_stay_as_they_are(model: ov.Model) -> None:
    before = [node.get_type_name() for node in model.get_ordered_ops()]
    assert not quantize_rows(model)
    assert [node.get_type_name() for node in model.get_ordered_ops()] == before
