"""Draws tokens from logits: temperature, min_p, top_k, top_p, then the inverse of the sums."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import PART, Logits, TokenLogits
from server.payloads import SamplingParams

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FIRST_STRETCHES = 64
"""As many stretches are read and sorted for top_p, where they can have enough."""

NUM_UNIFORMS = 8
"""What a choice may take of random numbers; all but the last are for tokens beyond top_p."""

LOWEST_TEMPERATURE = np.float32(1e-5)
"""Below it the effect is the same, but f32 overflows."""

NOTHING = -1
"""The token of a row that gives none, as it has NaN among its logits."""


def draw(logits: Logits, params: list[SamplingParams], uniforms: Doubles) -> Ints:
    """Draw one token a row, whose highest logit is finite; uniforms f64[K, NUM_UNIFORMS] in [0, 1).

    What min_p, top_k and top_p leave over has weight 0; equal logits at the edge of top_k or top_p
    stay together. A row's token depends on that row alone: it is the first at which the sum of the
    weights, in the order of the tokens, exceeds the first uniform's part of the sum of all. Only
    where top_p leaves a great many tokens the weights are those before top_p, and of all uniforms
    but the last the first counts that leads to a token which top_p leaves. Where none does, it is
    the last one, again in the weights that are left.
    """
    draws = Draws.of(logits, params, uniforms)
    chosen = np.empty(len(params), np.int64)
    is_limited = (draws.top_k < logits.vocab_size) | (draws.min_p > 0.0)
    is_nucleus = (draws.top_p < 1.0) & ~is_limited
    is_free = ~(is_limited | is_nucleus)
    # Logits far apart may overflow on their way to a weight of 0.
    with np.errstate(over="ignore"):
        for which, method in (
            (is_free, _draw_from_all),
            (is_limited, _draw_limited),
            (is_nucleus, _draw_from_nucleus),
        ):
            if which.any():
                chosen[which] = method(draws.select(np.flatnonzero(which)))
    return chosen


@dataclass(frozen=True, slots=True)
class Draws:
    """Rows of logits, and arrays with what to do with each."""

    logits: Logits
    uniforms: Doubles
    temperatures: Floats
    min_p: Floats
    top_k: Ints
    top_p: Doubles

    @classmethod
    def of(cls, logits: Logits, params: list[SamplingParams], uniforms: Doubles) -> "Draws":
        """Take the parameters of each row; a `top_k` of all tokens stands for none."""
        vocab_size = logits.vocab_size
        temperatures = np.array([p.temperature for p in params], np.float32)
        top_k = [p.top_k if 0 < p.top_k < vocab_size else vocab_size for p in params]
        return cls(
            logits,
            uniforms,
            np.maximum(temperatures, LOWEST_TEMPERATURE),
            np.array([p.min_p for p in params], np.float32),
            np.array(top_k, np.int64),
            np.array([p.top_p for p in params], np.float64),
        )

    def select(self, which: Ints) -> "Draws":
        """Some of the rows."""
        return Draws(
            self.logits.select(which),
            self.uniforms[which],
            self.temperatures[which],
            self.min_p[which],
            self.top_k[which],
            self.top_p[which],
        )

    def weights(self, values: Floats) -> Floats:
        """Probabilities of logits f32[K, C], up to a factor."""
        return weights_below(values, self.logits.highest[:, None], self.temperatures[:, None])


def weights_below(values: Floats, highest: Floats, temperatures: Floats) -> Floats:
    """How likely tokens are, in parts of one whose logit is `highest`; the shapes broadcast."""
    scaled: Floats = (values - highest) / temperatures
    return np.exp(scaled, out=scaled)


def _draw_from_all(draws: Draws) -> Ints:
    sums = draws.logits.sums(draws.temperatures)
    tokens = _find_by_sums(draws, sums, draws.uniforms[:, 0])
    return np.where(np.isfinite(sums.sum(axis=1)), tokens, NOTHING)


def _find_by_sums(draws: Draws, sums: Doubles, uniforms: Doubles) -> Ints:
    """Find the stretch by the sums over all, then the token in it."""
    return _search(
        sums,
        lambda stretches: draws.weights(draws.logits.in_stretch(stretches)),
        uniforms * sums.sum(axis=1),
    )


def _draw_limited(draws: Draws) -> Ints:
    """Draw where top_k or min_p tell a bound, below which nothing need be read."""
    # The bound is a little lower than min_p tells, so that rounding takes no token away.
    with np.errstate(divide="ignore"):
        depths = draws.temperatures * (np.log(draws.min_p) * np.float32(1.0001) - 0.0001)
    bounds = np.maximum(draws.logits.reached_by(draws.top_k), draws.logits.highest + depths)
    chosen = np.empty(len(bounds), np.int64)
    for batch in draws.logits.batches(bounds):
        part = draws.select(batch)
        chosen[batch], _ = _draw_from(part, part.logits.at_least(bounds[batch]))
    return chosen


def _draw_from_nucleus(draws: Draws) -> Ints:
    """Draw where top_p alone limits the choice, from a few stretches where these have enough."""
    sums = draws.logits.sums(draws.temperatures)
    totals = sums.sum(axis=1)
    chosen = np.full(len(totals), NOTHING)
    is_enough = np.full(len(totals), False)
    bounds = draws.logits.reached_by(np.full(len(totals), FIRST_STRETCHES))
    # All of the stretches that reach the bound is a little more than their tokens that do.
    at_most = (sums * (draws.logits.maxima >= bounds[:, None])).sum(axis=1)
    narrow = np.flatnonzero(at_most >= draws.top_p * totals)
    likely = draws.select(narrow)
    for batch in likely.logits.batches(bounds[narrow]):
        part, rows = likely.select(batch), narrow[batch]
        found = part.logits.at_least(bounds[rows])
        chosen[rows], is_enough[rows] = _draw_from(part, found, totals[rows])
    wide = np.flatnonzero(~is_enough & np.isfinite(totals))
    if len(wide):
        chosen[wide] = _draw_from_wide_nucleus(draws.select(wide), sums[wide])
    return np.where(np.isfinite(totals), chosen, NOTHING)


def _draw_from_wide_nucleus(draws: Draws, sums: Doubles) -> Ints:
    """Draw from all tokens until one is in the nucleus, whose edge is then not looked for.

    That is rejection sampling: what is in it comes with its own probability. A row that has not
    hit it after some draws, whose top_p is low, is sorted.
    """
    chosen = np.full(len(sums), NOTHING)
    totals = sums.sum(axis=1)
    for uniforms in draws.uniforms.T[:-1]:
        missing = np.flatnonzero(chosen == NOTHING)
        if len(missing) == 0:
            return chosen
        part = draws.select(missing)
        tokens = _find_by_sums(part, sums[missing], uniforms[missing])
        is_in = _is_in_nucleus(part, tokens, sums[missing])
        chosen[missing[is_in]] = tokens[is_in]
    for row in np.flatnonzero(chosen == NOTHING):
        one = draws.select(np.array([row]))
        everything = one.logits.at_least(np.array([-np.inf], np.float32))
        chosen[row : row + 1], _ = _draw_from(one, everything, totals[row : row + 1], -1)
    return chosen


def _is_in_nucleus(draws: Draws, tokens: Ints, sums: Doubles) -> Bools:
    """Whether the tokens likelier than these have less than top_p of the sum of all."""
    wanted = draws.top_p * sums.sum(axis=1)
    values = draws.logits.of_tokens(tokens)
    # All of the stretches that have such tokens is more than these are, and mostly little enough.
    at_most = (sums * (draws.logits.maxima > values[:, None])).sum(axis=1)
    is_in: Bools = at_most < wanted
    rest = np.flatnonzero(~is_in)
    part = draws.select(rest)
    above = part.logits.sums(part.temperatures, above=tokens[rest]).sum(axis=1)
    is_in[rest] = above < wanted[rest]
    return is_in


def _draw_from(
    draws: Draws, found: TokenLogits, totals: Doubles | None = None, uniform: int = 0
) -> tuple[Ints, Bools]:
    """Draw from the likeliest tokens; returns also where these are enough for top_p.

    `totals` are the sums of the weights of all tokens, where there is only top_p; `uniform` tells
    which of a row's uniforms counts.
    """
    edges, is_enough = _edges(draws, found.values, totals)
    weights = draws.weights(found.values)
    weights *= found.values >= edges[:, None]
    sums = _sums(weights)
    places = _search_in(weights, sums, draws.uniforms[:, uniform] * sums.sum(axis=1))
    chosen: Ints = found.token_ids[np.arange(len(places)), places]
    return chosen, is_enough


def _edges(draws: Draws, values: Floats, totals: Doubles | None) -> tuple[Floats, Bools]:
    """The lowest logit that min_p, top_k and top_p leave in each row.

    top_p is nucleus sampling (arXiv 1904.09751): the fewest likeliest tokens which have that part
    of all. Returns also where these values do have as much.
    """
    rows = np.arange(len(values))
    descending = np.sort(values, axis=1)[:, ::-1]
    weights = draws.weights(descending)
    num_likely = np.count_nonzero(weights >= draws.min_p[:, None], axis=1)
    edges = descending[rows, np.minimum(num_likely, draws.top_k) - 1]
    if (draws.top_p >= 1.0).all():
        return edges, np.full(len(values), True)
    weights *= descending >= edges[:, None]
    sums = _sums(weights)
    found = sums.sum(axis=1)
    wanted = draws.top_p * (found if totals is None else totals)
    # The first place at which the sum is not below what is wanted.
    last = _search_in(weights, sums, np.nextafter(wanted, -np.inf))
    return np.where(draws.top_p < 1.0, descending[rows, last], edges), found >= wanted


def _sums(weights: Floats) -> Doubles:
    """Sums over parts of the rows, f64[K, C / PART]."""
    parts = weights.reshape(len(weights), -1, PART)
    return np.asarray(parts.sum(axis=2), np.float64)


def _search_in(weights: Floats, sums: Doubles, targets: Doubles) -> Ints:
    parts = weights.reshape(len(weights), -1, PART)
    rows = np.arange(len(weights))
    return _search(sums, lambda numbers: parts[rows, numbers], targets)


def _search(sums: Doubles, weights_in: Callable[[Ints], Floats], targets: Doubles) -> Ints:
    """Where the running sum of each row's weights first exceeds its target.

    `sums` are those over parts of the rows; `weights_in` gives the weights in one part of each.
    """
    cumulative = np.cumsum(sums, axis=1)
    parts = positions(cumulative, targets)
    before = cumulative[np.arange(len(parts)), parts - 1]
    weights = weights_in(parts)
    rests = np.where(parts > 0, targets - before, targets)
    inside = positions(np.cumsum(weights, axis=1, dtype=np.float64), rests)
    return np.asarray(parts * weights.shape[1] + inside, np.int64)


def positions(cumulative: Doubles, targets: Doubles) -> Ints:
    """Where each running sum first exceeds its target.

    Rounding may lift the target to the total; the last one that adds anything is meant then.
    """
    found = np.count_nonzero(cumulative <= targets[:, None], axis=1)
    last = np.count_nonzero(cumulative < cumulative[:, -1:], axis=1)
    return np.asarray(np.minimum(found, last), np.int64)
