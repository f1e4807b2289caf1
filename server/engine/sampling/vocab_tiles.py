"""Maxima and sums over tiles of the vocabulary, computed by OpenVINO's CPU plugin."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from server.host.openvino_core import shared_core

Floats = npt.NDArray[np.float32]

LOWEST = np.finfo(np.float32).min


class VocabTiles:
    """Reduces rows of logits, each `num` tiles of `size` tokens, to one number for each tile.

    With these numbers sampling reads a few kB of most rows. They are computed by small graphs in
    f32: if the output head's graph had a second reader of its logits, the plugin would copy them.
    Not thread-safe. `properties` are the CPU plugin's.
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
        """The highest logit of each tile, f32[R, num], of f32[R, num * size]; NaN is ignored."""
        if len(rows) == 0:
            return np.empty((0, self.num), np.float32)
        tiles = ov.Tensor(rows.reshape(-1, self.size), shared_memory=True)
        found = _infer(self._maxima, tiles).reshape(len(rows), self.num)
        # The plugin's reduction starts with the lowest number, which stays where all are -inf.
        return np.where(found == LOWEST, np.float32(-np.inf), found)

    def sums(
        self, row: Floats, highest: np.float32, temperature: np.float32, above: float = -np.inf
    ) -> Floats:
        """Sums of exp((logit - highest) / temperature), f32[num], of a row f32[num, size].

        Only logits higher than `above` count. The result is valid until the next call. NaN among
        the logits makes a sum that is not finite.
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
    # A comparison with NaN is false, so NaN counts and makes the sum NaN.
    counted = ops.select(ops.less_equal(row, above), ops.constant(np.float32(0)), weights)
    sums = ops.reduce_sum(counted, ops.constant([1], dtype=ov.Type.i64), False)
    return ov.Model([ops.result(sums)], [row, highest, temperature, above], "tile_sums")


def _request(model: ov.Model, properties: Mapping[str, Any]) -> ov.InferRequest:
    settings = {**properties, "INFERENCE_PRECISION_HINT": "f32"}
    return shared_core().compile_model(model, "CPU", settings).create_infer_request()


def _infer(request: ov.InferRequest, first_input: ov.Tensor) -> Floats:
    request.set_input_tensor(0, first_input)
    request.infer(share_outputs=True)
    output: Floats = request.get_output_tensor(0).data
    return output
