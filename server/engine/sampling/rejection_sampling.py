"""Random choice of a token from a whole row of logits by rejection sampling, reading few of them.

(J. von Neumann, Various techniques used in connection with random digits, 1951.)
"""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import Logits
from server.engine.sampling.random_sampling import (
    LOWEST_TEMPERATURE,
    NO_TOKEN,
    first_above,
    relative_weights,
)
from server.engine.token_mask import TokenMask
from server.payloads import SamplingParams

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NUM_TRIES = (16, 64)
"""Tries in the first round, and in the second one for rows whose first round failed."""

LARGEST_SHARE = 1 / 256
"""A tile with a larger share of its row gets the exact sum of its weights instead of a bound."""


def can_use_rejection(params: SamplingParams, vocab_size: int) -> bool:
    """Whether all tokens of the vocabulary can be chosen and there is no seed.

    A seed should give the same token again when the logits are rounded differently. Rejection
    amplifies such differences more than inverse transform sampling does.
    """
    has_top_k = 0 < params.top_k < vocab_size
    return params.seed is None and params.top_p >= 1 and params.min_p <= 0 and not has_top_k


def sample_by_rejection(
    logits: Logits,
    temperatures: Floats,
    rng: np.random.Generator,
    masks: Rows[TokenMask] | None = None,
) -> Ints:
    """A random token for each row, i64[K]; NO_TOKEN where all tries failed or a sum is NaN.

    Tokens have the probabilities of softmax(logits / temperature), with `masks` those among the
    allowed tokens: whether a row's tries fail does not depend on the token that comes next. The
    highest logit of a row is finite; another logit that is NaN is never chosen.
    """
    chosen = np.full(len(logits), NO_TOKEN)
    temperatures = np.maximum(temperatures, LOWEST_TEMPERATURE)
    # A very low logit may overflow on its way to a weight of 0; -inf minus -inf is NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        proposal = _Proposal.of(logits, temperatures)
        for num_tries in NUM_TRIES:
            missing = np.flatnonzero(chosen == NO_TOKEN)
            if len(missing):
                uniforms = rng.random((2, len(missing), num_tries))
                own = None if masks is None else [masks[i] for i in missing.tolist()]
                chosen[missing] = proposal.sample(missing, uniforms, own)
    return chosen


@dataclass(frozen=True, slots=True)
class _Proposal:
    """The proposal distribution: first a tile by its bound, then a token of it.

    The bound of a tile is its highest weight times its size, so that a token of it is proposed
    uniformly and accepted with its weight divided by the highest. Where `is_summed`, it is the
    exact sum of the weights, and every proposed token is accepted. Bounds are f32[K, N], their
    running sums `cumulative` f64[K, N].
    """

    logits: Logits
    temperatures: Floats
    is_summed: Bools
    bounds: Floats
    cumulative: Doubles

    @classmethod
    def of(cls, logits: Logits, temperatures: Floats) -> "_Proposal":
        size = logits.tile_size
        bounds = relative_weights(logits.maxima, logits.highest[:, None], temperatures[:, None])
        is_summed = bounds > LARGEST_SHARE * bounds.sum(axis=1, keepdims=True)
        bounds *= size
        # np.nonzero takes several times as long.
        rows, tiles = np.divmod(np.flatnonzero(is_summed), is_summed.shape[1])
        values = logits.select(rows).in_tile(tiles)
        weights = relative_weights(values, logits.highest[rows, None], temperatures[rows, None])
        bounds[rows, tiles] = weights.sum(axis=1)
        cumulative = np.cumsum(bounds, axis=1, dtype=np.float64)
        return cls(logits, temperatures, is_summed, bounds, cumulative)

    def sample(self, rows: Ints, uniforms: Doubles, masks: Rows[TokenMask] | None) -> Ints:
        """The first accepted token of each of these rows; uniforms f64[2, rows, tries]."""
        places = uniforms[0] * self.cumulative[rows, -1:]
        tiles = self._find(rows, places)
        column = rows[:, None]
        bounds = self.bounds[column, tiles]
        # How far into its tile each place is, from 0 to 1; rounding may make it negative.
        depths = (places - (self.cumulative[column, tiles] - bounds)) / bounds
        depths = np.maximum(depths, 0.0)
        is_summed = self.is_summed[column, tiles]
        accepted = is_summed | (uniforms[1] < self._acceptance(rows, tiles, depths))
        # A sum may be NaN.
        accepted &= np.isfinite(places)
        chosen = np.full(len(rows), NO_TOKEN)
        left = np.flatnonzero(accepted.any(axis=1))
        while len(left):
            first = left, accepted[left].argmax(axis=1)
            tokens = self._tokens(rows[left], tiles[first], depths[first])
            if masks is None:
                chosen[left] = tokens
                break
            pairs = zip(left.tolist(), tokens.tolist(), strict=True)
            is_allowed = np.array([masks[i].allows(token) for i, token in pairs])
            chosen[left[is_allowed]] = tokens[is_allowed]
            accepted[first] = False
            left = left[~is_allowed & accepted[left].any(axis=1)]
        return chosen

    def _find(self, rows: Ints, places: Doubles) -> Ints:
        """The tiles that hold these places of the running sums."""
        pairs = zip(rows, places, strict=True)
        found = [np.searchsorted(self.cumulative[row], wanted, "right") for row, wanted in pairs]
        # Rounding may lift a place to the end.
        tiles: Ints = np.minimum(found, self.cumulative.shape[1] - 1)
        return tiles

    def _acceptance(self, rows: Ints, tiles: Ints, depths: Doubles) -> Floats:
        """The weights of the tokens at these places, divided by the highest of their tiles."""
        column = rows[:, None]
        tokens = self._uniform_token(tiles, depths)
        repeated = self.logits.select(np.repeat(rows, tokens.shape[1]))
        values = repeated.of_tokens(tokens.ravel()).reshape(tokens.shape)
        likeliest = self.logits.maxima[column, tiles]
        return relative_weights(values, likeliest, self.temperatures[column])

    def _tokens(self, rows: Ints, tiles: Ints, depths: Doubles) -> Ints:
        """The token at one accepted place of each row."""
        tokens = self._uniform_token(tiles, depths)
        summed = np.flatnonzero(self.is_summed[rows, tiles])
        rows, tiles = rows[summed], tiles[summed]
        part = self.logits.select(rows)
        values = part.in_tile(tiles)
        weights = relative_weights(values, part.highest[:, None], self.temperatures[rows, None])
        sums = np.cumsum(weights, axis=1, dtype=np.float64)
        inside = first_above(sums, depths[summed] * sums[:, -1])
        tokens[summed] = tiles * self.logits.tile_size + inside
        return tokens

    def _uniform_token(self, tiles: Ints, depths: Doubles) -> Ints:
        """The tokens at these depths of their tiles, each as wide as the others."""
        size = self.logits.tile_size
        inside = np.clip((depths * size).astype(np.int64), 0, size - 1)
        return np.asarray(tiles * size + inside, np.int64)
