"""What happens to vectors after the inference: chunks are joined, vectors cut and normalised."""

from collections.abc import Sequence

import numpy as np

from calculators.encoders.encoder_service import Vector
from server.errors import InvalidRequestError

__all__ = ["joined_mean", "normalized", "shortened"]

# As in the graph: a vector of zeros stays one.
SMALLEST_NORM = 1e-6


def joined_mean(means: Sequence[Vector], weights: Sequence[int]) -> Vector:
    """The mean of all tokens of a text, f32[size]; `weights` are the numbers of tokens of chunks.

    `means` are those of the chunks.
    """
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
