"""Maxima and sums over tiles of the vocabulary, computed by OpenVINO's CPU plugin."""

from collections.abc import Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from server.host.openvino_core import shared_core

Floats = npt.NDArray[np.float32]

LOWEST = np.finfo(np.float32).min
# What is summed at once: starting the graph costs as much as a small row, and large ones must stay
# in the cache.
MAX_SUM_ROWS, MAX_SUM_LOGITS = 32, 5 * 2**18


class Tiles(Protocol):
    """Reduces rows of logits, each `num` tiles of `size` tokens, to one number for each tile."""

    num: int
    size: int
    max_sum_rows: int

    def resized(self, num: int) -> "Tiles":
        """The same for rows of so many tiles."""

    def maxima(self, rows: Floats) -> Floats:
        """The highest logit of each tile, f32[R, num], of f32[R, num * size]; NaN is ignored."""

    def sums(self, rows: Floats, highest: Floats, factors: Floats) -> Floats:
        """Sums of exp((logit - highest) * factor), f32[R, num], of rows f32[R, num, size].

        The other arguments are f32[R]. There are at most `max_sum_rows` rows. The result is valid
        until the next call. NaN among the logits makes a sum that is not finite.
        """

    def sums_above(self, rows: Floats, highest: Floats, factors: Floats, above: Floats) -> Floats:
        """As `sums` of the logits that are higher than `above`, f32[R], of any number of tiles."""


class VocabTiles:
    """Tiles of a whole vocabulary.

    With their numbers sampling reads a few kB of most rows. They are computed by small graphs in
    f32: if the output head's graph had a second reader of its logits, the plugin would copy them.
    Not thread-safe. `properties` are the CPU plugin's.
    """

    def __init__(
        self, num: int, size: int, properties: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.size = size
        self._maxima = _request(_maxima_model(size), properties)
        self._sums = _request(_sums_model(size, is_above=False), properties)
        self._sums_above = _request(_sums_model(size, is_above=True), properties)
        self._set_num(num)

    def _set_num(self, num: int) -> None:
        self.num = num
        self.max_sum_rows = max(1, min(MAX_SUM_ROWS, MAX_SUM_LOGITS // (num * self.size)))

    def resized(self, num: int) -> "VocabTiles":
        """The same for rows of so many tiles."""
        resized = copy(self)
        resized._set_num(num)
        return resized

    def maxima(self, rows: Floats) -> Floats:
        """The highest logit of each tile, f32[R, num], of f32[R, num * size]; NaN is ignored."""
        if len(rows) == 0:
            return np.empty((0, self.num), np.float32)
        tiles = ov.Tensor(rows.reshape(-1, self.size), shared_memory=True)
        found = _infer(self._maxima, tiles).reshape(len(rows), self.num)
        # The plugin's reduction starts with the lowest number, which stays where all are -inf.
        return np.where(found == LOWEST, np.float32(-np.inf), found)

    def sums(self, rows: Floats, highest: Floats, factors: Floats) -> Floats:
        """As Tiles says."""
        return _sum(self._sums, rows, highest, factors)

    def sums_above(self, rows: Floats, highest: Floats, factors: Floats, above: Floats) -> Floats:
        """As Tiles says."""
        return _sum(self._sums_above, rows, highest, factors, above)


def _maxima_model(size: int) -> ov.Model:
    tiles = ops.parameter([-1, size], ov.Type.f32)
    maxima = ops.reduce_max(tiles, ops.constant([1], dtype=ov.Type.i64), False)
    return ov.Model([ops.result(maxima)], [tiles], "tile_maxima")


def _sums_model(size: int, is_above: bool) -> ov.Model:
    rows = ops.parameter([-1, -1, size], ov.Type.f32)
    highest, factors, above = (ops.parameter([-1, 1, 1], ov.Type.f32) for _ in range(3))
    # A division would take as long as the exponential function.
    weights = ops.exp(ops.multiply(ops.subtract(rows, highest), factors))
    inputs = [rows, highest, factors]
    if is_above:
        # A comparison with NaN is false, so NaN counts and makes the sum NaN.
        zero = ops.constant(np.float32(0))
        weights = ops.select(ops.less_equal(rows, above), zero, weights)
        inputs.append(above)
    sums = ops.reduce_sum(weights, ops.constant([2], dtype=ov.Type.i64), False)
    return ov.Model([ops.result(sums)], inputs, "tile_sums")


def _sum(request: ov.InferRequest, rows: Floats, *numbers: Floats) -> Floats:
    for index, column in enumerate(numbers, start=1):
        request.set_input_tensor(index, ov.Tensor(column.reshape(-1, 1, 1)))
    return _infer(request, ov.Tensor(rows, shared_memory=True))


def _request(model: ov.Model, properties: Mapping[str, Any]) -> ov.InferRequest:
    settings = {**properties, "INFERENCE_PRECISION_HINT": "f32"}
    return shared_core().compile_model(model, "CPU", settings).create_infer_request()


def _infer(request: ov.InferRequest, first_input: ov.Tensor) -> Floats:
    request.set_input_tensor(0, first_input)
    request.infer(share_outputs=True)
    output: Floats = request.get_output_tensor(0).data
    return output
