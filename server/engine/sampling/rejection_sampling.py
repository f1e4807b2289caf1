"""Draws tokens from whole rows of logits, of which it reads little, by rejection sampling.

(J. von Neumann, Various techniques used in connection with random digits, 1951.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import Logits
from server.engine.sampling.random_sampling import (
    LOWEST_TEMPERATURE,
    NOTHING,
    positions,
    weights_below,
)
from server.payloads import SamplingParams

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NUM_TRIES = (16, 64)
"""At first, and for the rows where all of these failed. Of usual rows a few tries suffice."""

LARGEST_SHARE = 1 / 256
"""A stretch whose bound is a larger part of a row's has its weights added up instead."""


def is_for_rejection(params: SamplingParams, vocab_size: int) -> bool:
    """Whether all tokens of a row count, and no seed.

    With a seed the same row should give the same token even if it was rounded otherwise. Tries
    change more with it than places in a running sum.
    """
    has_top_k = 0 < params.top_k < vocab_size
    return params.seed is None and params.top_p >= 1 and params.min_p <= 0 and not has_top_k


def draw_by_rejection(logits: Logits, temperatures: Floats, rng: np.random.Generator) -> Ints:
    """Draw a token of each row, i64[K]; NOTHING where all tries failed or a sum is NaN.

    Each token comes with its own probability, as the tries of a row fail in the same way whatever
    it draws after them. The highest logit of a row is finite; a NaN among its others is not drawn.
    """
    chosen = np.full(len(logits), NOTHING)
    temperatures = np.maximum(temperatures, LOWEST_TEMPERATURE)
    # Logits far apart may overflow on their way to a weight of 0; -inf is as far from -inf.
    with np.errstate(over="ignore", invalid="ignore"):
        proposals = _Proposals.of(logits, temperatures)
        for num_tries in NUM_TRIES:
            missing = np.flatnonzero(chosen == NOTHING)
            if len(missing):
                chosen[missing] = proposals.draw(missing, rng.random((2, len(missing), num_tries)))
    return chosen


@dataclass(frozen=True, slots=True)
class _Proposals:
    """Where tokens are drawn from before some are rejected: stretches, by bounds of their weights.

    The bound of a stretch is what it would have if all of its tokens were as likely as the
    likeliest, or, where `is_summed`, what it really has. All are f32 or bool[K, N], the running
    sums of the bounds f64[K, N].
    """

    logits: Logits
    temperatures: Floats
    is_summed: Bools
    bounds: Floats
    cumulative: Doubles

    @classmethod
    def of(cls, logits: Logits, temperatures: Floats) -> "_Proposals":
        size = logits.stretch_size
        bounds = weights_below(logits.maxima, logits.highest[:, None], temperatures[:, None])
        is_summed = bounds > LARGEST_SHARE * bounds.sum(axis=1, keepdims=True)
        bounds *= size
        # np.nonzero takes several times as long.
        rows, stretches = np.divmod(np.flatnonzero(is_summed), is_summed.shape[1])
        values = logits.select(rows).in_stretch(stretches)
        weights = weights_below(values, logits.highest[rows, None], temperatures[rows, None])
        bounds[rows, stretches] = weights.sum(axis=1)
        cumulative = np.cumsum(bounds, axis=1, dtype=np.float64)
        return cls(logits, temperatures, is_summed, bounds, cumulative)

    def draw(self, rows: Ints, uniforms: Doubles) -> Ints:
        """The first token of each of these rows that is kept; uniforms f64[2, rows, tries]."""
        places = uniforms[0] * self.cumulative[rows, -1:]
        stretches = self._find(rows, places)
        column = rows[:, None]
        bounds = self.bounds[column, stretches]
        # How far into its stretch each place is, from 0 to 1.
        depths = (places - (self.cumulative[column, stretches] - bounds)) / bounds
        # Rounding may put it before its stretch.
        depths = np.maximum(depths, 0.0)
        is_summed = self.is_summed[column, stretches]
        kept = is_summed | (uniforms[1] < self._parts_kept(rows, stretches, depths))
        # NaN may be in a sum.
        kept &= np.isfinite(places)
        first = np.arange(len(rows)), kept.argmax(axis=1)
        return self._tokens(rows, stretches[first], depths[first], kept[first])

    def _find(self, rows: Ints, places: Doubles) -> Ints:
        """The stretches in which these places of the running sums are."""
        pairs = zip(rows, places, strict=True)
        found = [np.searchsorted(self.cumulative[row], wanted, "right") for row, wanted in pairs]
        # Rounding may lift a place to the end.
        stretches: Ints = np.minimum(found, self.cumulative.shape[1] - 1)
        return stretches

    def _parts_kept(self, rows: Ints, stretches: Ints, depths: Doubles) -> Floats:
        """How likely the tokens at these places are, in parts of the likeliest of the stretch."""
        column = rows[:, None]
        tokens = self._evenly(stretches, depths)
        repeated = self.logits.select(np.repeat(rows, tokens.shape[1]))
        values = repeated.of_tokens(tokens.ravel()).reshape(tokens.shape)
        likeliest = self.logits.maxima[column, stretches]
        return weights_below(values, likeliest, self.temperatures[column])

    def _tokens(self, rows: Ints, stretches: Ints, depths: Doubles, is_kept: Bools) -> Ints:
        """The token at one place of each row; NOTHING where it is not kept."""
        tokens = np.where(is_kept, self._evenly(stretches, depths), NOTHING)
        summed = np.flatnonzero(is_kept & self.is_summed[rows, stretches])
        rows, stretches = rows[summed], stretches[summed]
        part = self.logits.select(rows)
        values = part.in_stretch(stretches)
        weights = weights_below(values, part.highest[:, None], self.temperatures[rows, None])
        sums = np.cumsum(weights, axis=1, dtype=np.float64)
        inside = positions(sums, depths[summed] * sums[:, -1])
        tokens[summed] = stretches * self.logits.stretch_size + inside
        return tokens

    def _evenly(self, stretches: Ints, depths: Doubles) -> Ints:
        """The tokens at these places, if all of a stretch are as likely."""
        size = self.logits.stretch_size
        inside = np.clip((depths * size).astype(np.int64), 0, size - 1)
        return np.asarray(stretches * size + inside, np.int64)
