"""A model's numbers for its rows -> scores of pairs, or a number for each label."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calculators.rerank.model_config import Activation

__all__ = ["activate", "best_scores"]

Logits = npt.NDArray[np.float32]


def best_scores(logits: Sequence[Logits], owners: Sequence[int], num_pairs: int) -> Logits:
    """The best number of each pair's rows, f32[pairs].

    The number of a row is that of its second label if the model has several labels, else its only
    one. Each item of `logits` is f32[labels]; `owners` has the index of the pair of each row.
    """
    table = np.stack(logits)
    best = np.full(num_pairs, -np.inf, np.float32)
    np.maximum.at(best, np.asarray(owners), table[:, 1 if table.shape[1] > 1 else 0])
    return best


def activate(logits: Logits, activation: Activation) -> Logits:
    """Apply the activation to f32[...]; softmax goes over the last axis."""
    # In double precision, nothing overflows here.
    values = logits.astype(np.float64)
    if activation == "sigmoid":
        values = np.exp(-np.logaddexp(0, -values))
    elif activation == "softmax":
        values = np.exp(values - values.max(-1, keepdims=True))
        values /= values.sum(-1, keepdims=True)
    return values.astype(np.float32)
