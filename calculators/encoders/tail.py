"""What follows the pooling, for vectors that are pooled before they get here."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from calculators.encoders.encoder_model import Head
from calculators.encoders.encoder_service import Vector
from server.host.openvino_core import shared_core

__all__ = ["Tail"]

PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


class Tail:
    """A `head` as a model of its own, for pooled vectors f32[size]. Threads may share it."""

    def __init__(self, head: Head, size: int) -> None:
        pooled = ops.parameter([-1, size], ov.Type.f32)
        model = head(ov.Model([ops.result(pooled)], [pooled], "tail"))
        compiled = shared_core().compile_model(model, "CPU", PROPERTIES)
        self._request: Any = compiled.create_infer_request()
        self._lock = threading.Lock()

    def apply(self, vectors: Sequence[Vector]) -> list[Vector]:
        """What the head makes of each vector."""
        with self._lock:
            self._request.infer({0: np.stack(vectors)})
            return list(self._request.get_output_tensor(0).data.astype(np.float32))
