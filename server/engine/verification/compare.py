"""How far predictions are from the expected ones, and where rounding no longer explains it."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.verification.stateful import Prediction

Doubles = npt.NDArray[np.float64]

TOLERANCE = 0.05
"""Of log probabilities, in f32. Rounding makes differences of about 1e-4."""

ROUGH_TOLERANCE = 0.5
"""Where a model itself rounds what it computes. The bundled one in W8A8 differs by up to 0.2."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two forms of a model disagree first; `where` says which, or in what way of running."""

    where: str
    position: int
    num_tokens: int
    difference: float

    def __str__(self) -> str:
        return (
            f"{self.where}: from token {self.position} of {self.num_tokens} on, log probabilities "
            f"differ by up to {self.difference:.3g}"
        )


def distances(found: Prediction, expected: Prediction) -> Doubles:
    """f64[tokens]: how far log probabilities are from the expected ones; NaN counts as infinite."""
    between: Doubles = np.maximum(
        np.abs(found.logprobs - expected.logprobs),
        np.abs(found.best_logprobs - expected.best_logprobs),
    )
    return np.nan_to_num(between, nan=math.inf)


def find_first(found: Prediction, expected: Prediction, tolerance: float) -> int | None:
    """The first prediction that rounding does not explain; None where it explains all."""
    # Two tokens that are as likely as each other may change places.
    has_other_best = (found.best_ids != expected.best_ids) & (expected.margins > tolerance)
    is_wrong = (distances(found, expected) > tolerance) | has_other_best
    return int(is_wrong.argmax()) if is_wrong.any() else None
