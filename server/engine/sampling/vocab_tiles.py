"""Reduces tiles of rows of logits to a number each, on the threads of OpenVINO's CPU plugin."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

Floats = npt.NDArray[np.float32]

LOWEST = np.finfo(np.float32).min


class VocabTiles:
    """Maxima and sums over rows of logits that are cut into `num` tiles of `size` tokens.

    Sampling then reads a few kB of most rows instead of all. These are graphs of their own, which
    compute in f32 whatever the model does: in the head's graph a second reader of the logits would
    make the plugin copy them. One thread at a time uses them. `properties` are those of the CPU
    plugin.
    """

    def __init__(
        self, num: int, size: int, properties: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.num, self.size = num, size
        self._maxima = _request(_maxima_model(size), properties)
        self._sums = _request(_sums_model(num, size), properties)
        # [3, 1, 1]: what the inputs 1 to 3 read.
        self._numbers = np.empty((3, 1, 1), np.float32)
        for index, array in enumerate(self._numbers, start=1):
            self._sums.set_input_tensor(index, ov.Tensor(array, shared_memory=True))

    def maxima(self, rows: Floats) -> Floats:
        """f32[R, num] of f32[R, num * size]; NaN among other logits is left out."""
        if len(rows) == 0:
            return np.empty((0, self.num), np.float32)
        tiles = ov.Tensor(rows.reshape(-1, self.size), shared_memory=True)
        found = _infer(self._maxima, tiles).reshape(len(rows), self.num)
        # What the plugin's reduction begins with is left where all are -inf.
        return np.where(found == LOWEST, np.float32(-np.inf), found)

    def sums(
        self, row: Floats, highest: np.float32, temperature: np.float32, above: float = -np.inf
    ) -> Floats:
        """Sums of exp((logit - highest) / temperature), f32[num], of a row f32[num, size].

        Only logits `above` this one count. Valid until the next call. NaN among the logits makes a
        sum that is not finite.
        """
        self._numbers[:, 0, 0] = highest, temperature, above
        return _infer(self._sums, ov.Tensor(row, shared_memory=True))


def _maxima_model(size: int) -> ov.Model:
    tiles = ops.parameter([-1, size], ov.Type.f32)
    maxima = ops.reduce_max(tiles, ops.constant([1], dtype=ov.Type.i64), False)
    return ov.Model([ops.result(maxima)], [tiles], "tile_maxima")


def _sums_model(num: int, size: int) -> ov.Model:
    row = ops.parameter([num, size], ov.Type.f32)
    highest, temperature, above = (ops.parameter([1, 1], ov.Type.f32) for _ in range(3))
    weights = ops.exp(ops.divide(ops.subtract(row, highest), temperature))
    # NaN is not below anything, and stays.
    counted = ops.select(ops.less_equal(row, above), ops.constant(np.float32(0)), weights)
    sums = ops.reduce_sum(counted, ops.constant([1], dtype=ov.Type.i64), False)
    return ov.Model([ops.result(sums)], [row, highest, temperature, above], "tile_sums")


def _request(model: ov.Model, properties: Mapping[str, Any]) -> ov.InferRequest:
    settings = {**properties, "INFERENCE_PRECISION_HINT": "f32"}
    return ov.Core().compile_model(model, "CPU", settings).create_infer_request()


def _infer(request: ov.InferRequest, first_input: ov.Tensor) -> Floats:
    request.set_input_tensor(0, first_input)
    request.infer(share_outputs=True)
    output: Floats = request.get_output_tensor(0).data
    return output
