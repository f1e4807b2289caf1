"""Rotary frequencies that were compressed with the weights, as NNCF does it."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from server.engine.model.load_check.exact_frequencies import restore_frequencies
from server.host.openvino_core import shared_core

THETA, SIZE, POSITION = 10000.0, 8, 20000.0
EXACT = THETA ** -(np.arange(SIZE) / SIZE)


def _angles(has_zero_point: bool) -> ov.Model:
    """cos(frequency x position), with frequencies of 255 times a scale in f16."""
    integers = ops.convert(ops.constant(np.full((1, SIZE, 1), 255, np.uint8)), ov.Type.f16)
    if has_zero_point:
        zero = ops.convert(ops.constant(np.zeros((1, SIZE, 1), np.uint8)), ov.Type.f16)
        integers = ops.subtract(integers, zero)
    scale = ops.constant((EXACT / 255).astype(np.float16).reshape(1, SIZE, 1))
    frequencies = ops.convert(ops.multiply(integers, scale), ov.Type.f32)
    positions = ops.parameter([-1, 1, 1], ov.Type.f32)
    return ov.Model([ops.cos(ops.matmul(frequencies, positions, False, False))], [positions])


def _error(model: ov.Model) -> float:
    """How far the cosines at a late position are from those of the exact frequencies."""
    compiled = shared_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([np.full((1, 1, 1), POSITION, np.float32)])[0].ravel()
    return float(np.abs(found - np.cos(EXACT * POSITION)).max())


@pytest.mark.parametrize("has_zero_point", [True, False])
def test_frequencies_become_those_of_the_configuration(has_zero_point: bool) -> None:
    model = _angles(has_zero_point)
    assert _error(model) > 0.4
    restore_frequencies(model, {"rope_theta": THETA})
    assert _error(model) < 0.01


@pytest.mark.parametrize("config", [{"rope_theta": 2 * THETA}, {}], ids=str)
def test_frequencies_that_are_not_those_of_the_configuration_stay(config: dict[str, float]) -> None:
    model = _angles(has_zero_point=True)
    before = _error(model)
    restore_frequencies(model, config)
    assert _error(model) == before
