from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from server.engine.model.output_head import ModelOutput, SplitModel, split_model
from server.errors import ModelLoadError

WHERE = Path("model.xml")


def head(weights: np.ndarray) -> ov.Model:
    """The end of a model: a matrix product and soft-capping."""
    data = ops.parameter([-1, weights.shape[0]], ov.Type.f32, name="data")
    product = ops.matmul(ops.relu(data), ops.constant(weights), False, False)
    capped = ops.multiply(ops.tanh(product), ops.constant(np.float32(2)))
    return ov.Model([capped], [data], "head")


def infer(parts: SplitModel, data: np.ndarray, rows: list[int], precision: str) -> np.ndarray:
    """The output of the head for some rows."""
    properties = {"INFERENCE_PRECISION_HINT": precision}
    layers = ov.Core().compile_model(parts.layers, "CPU", properties)
    compiled_head = ov.Core().compile_model(parts.head, "CPU", properties)
    hidden = layers([data, np.array(rows)])[0]
    return np.asarray(compiled_head([hidden])[0])


def test_logits_that_do_not_come_from_a_matrix_product() -> None:
    data = ops.parameter([-1, 4], ov.Type.f32, name="data")
    model = ov.Model([ops.relu(data)], [data], "relu")
    with pytest.raises(ModelLoadError, match="model.xml: its output does not come from a matrix"):
        split_model(model, WHERE)


def test_only_the_sampled_rows_are_multiplied() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    parts = split_model(head(weights), WHERE)
    assert parts.output == ModelOutput(3, 1, 128)
    data = np.random.default_rng(0).uniform(size=(5, 4)).astype(np.float32) / 10
    logits = infer(parts, data, [4, 0, 4], "f32")
    np.testing.assert_allclose(logits[:, :3], 2 * np.tanh(data[[4, 0, 4]] @ weights), rtol=1e-4)


def test_a_vocabulary_of_whole_tiles_is_not_padded() -> None:
    parts = split_model(head(np.ones((64, 960), np.float32)), WHERE)
    assert parts.output == ModelOutput(960, 15, 64)
    assert "Pad" not in {node.get_type_name() for node in parts.head.get_ops()}


@pytest.mark.parametrize("vocab_size", [1, 127, 129, 1001])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_last_tile_is_padded_with_minus_infinity(vocab_size: int, precision: str) -> None:
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(8, vocab_size)).astype(np.float32)
    parts = split_model(head(weights), WHERE)
    num_tiles = -(-vocab_size // 128)
    assert parts.output == ModelOutput(vocab_size, num_tiles, 128)
    data = rng.normal(size=(6, 8)).astype(np.float32) / 30
    logits = infer(parts, data, list(range(6)), precision)
    assert logits.shape == (6, num_tiles * 128)
    assert np.isfinite(logits[:, :vocab_size]).all()
    assert (logits[:, vocab_size:] == -np.inf).all()
