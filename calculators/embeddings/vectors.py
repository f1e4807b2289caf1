"""What happens to vectors behind the batches: chunks joined, numbers cut off, norms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from calculators.encoders.encoder_service import Vector
from calculators.encoders.heads import DenseLayer, tail_head
from server.errors import InvalidRequestError
from server.host.openvino_core import shared_core

__all__ = ["Tail", "joined_mean", "normalized", "shortened"]

# As in the graph: a vector of zeros stays one.
SMALLEST_NORM = 1e-6


class Tail:
    """What follows the pooling, for vectors that were pooled over several rows. Threads share it.

    `size` is the length of the pooled vectors.
    """

    def __init__(self, size: int, layers: Sequence[DenseLayer], *, normalize: bool) -> None:
        pooled = ops.parameter([-1, size], ov.Type.f32)
        model = tail_head(
            ov.Model([ops.result(pooled)], [pooled], "tail"), layers, normalize=normalize
        )
        properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        self._compiled: Any = shared_core().compile_model(model, "CPU", properties)

    def apply(self, vectors: Sequence[Vector]) -> Sequence[Vector]:
        """The embeddings of pooled vectors."""
        output = self._compiled.create_infer_request().infer([np.stack(vectors)])[0]
        return list(np.array(output, np.float32))


def joined_mean(means: Sequence[Vector], weights: Sequence[int]) -> Vector:
    """The mean of all tokens, of the means of chunks with these numbers of tokens."""
    if len(means) == 1:
        return means[0]
    return np.average(means, axis=0, weights=weights).astype(np.float32)


def shortened(vector: Vector, dimensions: int | None, *, normalize: bool) -> Vector:
    """The first `dimensions` numbers, normalised again: Matryoshka embeddings.

    Raises InvalidRequestError if there are not so many.
    """
    size = vector.shape[-1]
    if dimensions is None or dimensions == size:
        return vector
    if not 1 <= dimensions <= size:
        problem = f"dimensions is {dimensions}; possible for this model: 1 to {size}"
        raise InvalidRequestError(problem, "dimensions")
    return normalized(vector[..., :dimensions]) if normalize else vector[..., :dimensions]


def normalized(vectors: Vector) -> Vector:
    """With L2 norm 1 along the last axis."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, SMALLEST_NORM), np.float32)
