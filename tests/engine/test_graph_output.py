from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from server.engine.graph_output import ModelOutput, edit_output
from server.errors import ModelLoadError

WHERE = Path("model.xml")


def head(weights: np.ndarray) -> ov.Model:
    """A model that is only the end of one: a matrix product and soft-capping."""
    data = ops.parameter([-1, weights.shape[0]], ov.Type.f32, name="data")
    product = ops.matmul(data, ops.constant(weights), False, False)
    capped = ops.multiply(ops.tanh(product), ops.constant(np.float32(2)))
    return ov.Model([capped], [data], "head")


def test_logits_that_do_not_come_from_a_matrix_product() -> None:
    data = ops.parameter([-1, 4], ov.Type.f32, name="data")
    model = ov.Model([ops.relu(data)], [data], "relu")
    with pytest.raises(ModelLoadError, match="model.xml: its output does not come from a matrix"):
        edit_output(model, WHERE)


def test_only_the_sampled_rows_are_multiplied() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    model = head(weights)
    assert edit_output(model, WHERE) == ModelOutput(3, 0, None)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) / 10
    found = compiled([rows, np.array([4, 0, 4])])[0]
    np.testing.assert_allclose(found, 2 * np.tanh(rows[[4, 0, 4]] @ weights), rtol=1e-4)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_maxima_are_those_of_the_logits(precision: str) -> None:
    rng = np.random.default_rng(1)
    model = head(rng.normal(size=(64, 960)).astype(np.float32))
    output = edit_output(model, WHERE)
    assert output == ModelOutput(960, 0, 1)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    rows = rng.normal(size=(6, 64)).astype(np.float32) / 30
    results = compiled([rows, np.arange(6)])
    logits, maxima = results[0], results[1]
    assert maxima.shape == (6, 15)
    np.testing.assert_array_equal(maxima, logits.reshape(6, 15, 64).max(axis=2))
