"""Adds up the weights of all tokens of a row of logits, on the threads of OpenVINO's CPU plugin."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

Floats = npt.NDArray[np.float32]


class StretchSums:
    """The sum of exp((logit * scale - highest) / temperature) over each stretch of a row.

    A graph of its own: it computes in f32 whatever the model does, and costs nothing in a step that
    does not need it. One thread at a time uses it. `properties` are those of the CPU plugin.
    """

    def __init__(
        self, num_stretches: int, stretch: int, properties: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.num_stretches, self.stretch = num_stretches, stretch
        row = ops.parameter([num_stretches, stretch], ov.Type.f32)
        highest = ops.parameter([1, 1], ov.Type.f32)
        temperature = ops.parameter([1, 1], ov.Type.f32)
        scale = ops.parameter([1, 1], ov.Type.f32)
        distances = ops.subtract(ops.multiply(row, scale), highest)
        weights = ops.exp(ops.divide(distances, temperature))
        sums = ops.reduce_sum(weights, ops.constant([1], dtype=ov.Type.i64), False)
        model = ov.Model([ops.result(sums)], [row, highest, temperature, scale], "stretch_sums")
        compiled = ov.Core().compile_model(
            model, "CPU", {**properties, "INFERENCE_PRECISION_HINT": "f32"}
        )
        self._request = compiled.create_infer_request()
        # [3, 1, 1]: what the inputs 1 to 3 read.
        self._numbers = np.empty((3, 1, 1), np.float32)
        for index, array in enumerate(self._numbers, start=1):
            self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))

    def of(
        self, row: Floats, highest: np.float32, temperature: np.float32, scale: np.float32
    ) -> Floats:
        """f32[stretches] of a row f32[stretches, tokens]; valid until the next call.

        NaN among the logits makes a sum that is not finite.
        """
        self._numbers[:, 0, 0] = highest, temperature, scale
        self._request.set_input_tensor(0, ov.Tensor(row, shared_memory=True))
        self._request.infer(share_outputs=True)
        sums: Floats = self._request.get_output_tensor(0).data
        return sums
