"""Random choice of tokens with temperature, min_p, top_k and top_p, reading few logits of a row."""

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

FIRST_TILES = 64
"""Tiles that are read and sorted for top_p, where they hold enough probability."""

NUM_PARTS = 4
"""Parts of the vocabulary that are read in turn until a token is in the nucleus or not."""

NUM_UNIFORMS = 8
"""Random numbers for one token: 7 for rejection in a wide nucleus, the last for the exact way."""

LOWEST_TEMPERATURE = np.float32(1e-5)
"""Lower temperatures have the same effect, but overflow f32."""

NO_TOKEN = -1
"""The token of a row that has none, because there is NaN among its logits."""


def sample_randomly(logits: Logits, params: list[SamplingParams], uniforms: Doubles) -> Ints:
    """Choose a random token for each row; uniforms f64[K, NUM_UNIFORMS] in [0, 1).

    The highest logit of each row is finite. Tokens that min_p, top_k and top_p exclude have weight
    0; equal logits at the edge of top_k or top_p are kept or excluded together. A row's token
    depends on no other row.

    The method is inverse transform sampling (L. Devroye, Non-Uniform Random Variate Generation,
    1986, II.2): the first token at which the running sum of the weights, in vocabulary order,
    exceeds the first uniform times their total. One case differs, see `_sample_from_wide_nucleus`.
    """
    rows = SampledRows.of(logits, params, uniforms)
    chosen = np.empty(len(params), np.int64)
    is_limited = (rows.top_k < logits.vocab_size) | (rows.min_p > 0.0)
    is_nucleus = (rows.top_p < 1.0) & ~is_limited
    is_free = ~(is_limited | is_nucleus)
    # A very low logit may overflow on its way to a weight of 0.
    with np.errstate(over="ignore"):
        for which, method in (
            (is_free, _sample_from_all),
            (is_limited, _sample_limited),
            (is_nucleus, _sample_from_nucleus),
        ):
            if which.any():
                chosen[which] = method(rows.select(np.flatnonzero(which)))
    return chosen


@dataclass(frozen=True, slots=True)
class SampledRows:
    """Rows of logits, with the random numbers and the parameters of each."""

    logits: Logits
    uniforms: Doubles
    temperatures: Floats
    min_p: Floats
    top_k: Ints
    top_p: Doubles

    @classmethod
    def of(cls, logits: Logits, params: list[SamplingParams], uniforms: Doubles) -> "SampledRows":
        """Take the parameters of each row; without top_k, `top_k` is the vocabulary size."""
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

    def select(self, which: Ints) -> "SampledRows":
        """Some of the rows."""
        return SampledRows(
            self.logits.select(which),
            self.uniforms[which],
            self.temperatures[which],
            self.min_p[which],
            self.top_k[which],
            self.top_p[which],
        )

    def weights(self, values: Floats) -> Floats:
        """Unnormalised probabilities of logits f32[K, C]; the likeliest token has weight 1."""
        return relative_weights(values, self.logits.highest[:, None], self.temperatures[:, None])


def relative_weights(values: Floats, highest: Floats, temperatures: Floats) -> Floats:
    """exp((values - highest) / temperatures); the shapes broadcast."""
    scaled: Floats = (values - highest) / temperatures
    return np.exp(scaled, out=scaled)


def _sample_from_all(rows: SampledRows) -> Ints:
    sums = rows.logits.sums(rows.temperatures)
    tokens = _find_by_sums(rows, sums, rows.uniforms[:, 0])
    return np.where(np.isfinite(sums.sum(axis=1)), tokens, NO_TOKEN)


def _find_by_sums(rows: SampledRows, sums: Doubles, uniforms: Doubles) -> Ints:
    """Find the tile by the sums of all tiles, then the token in it."""
    return _search(
        sums,
        lambda tiles: rows.weights(rows.logits.in_tile(tiles)),
        uniforms * sums.sum(axis=1),
    )


def _sample_limited(rows: SampledRows) -> Ints:
    """Sample with top_k or min_p, which give a lower bound of the logits that have to be read."""
    # A little lower than min_p says, so that rounding excludes no token.
    with np.errstate(divide="ignore"):
        depths = rows.temperatures * (np.log(rows.min_p) * np.float32(1.0001) - 0.0001)
    bounds = np.maximum(rows.logits.bounds_of_top(rows.top_k), rows.logits.highest + depths)
    chosen = np.empty(len(bounds), np.int64)
    for batch in rows.logits.batches(bounds):
        part = rows.select(batch)
        chosen[batch], _ = _sample_from(part, part.logits.at_least(bounds[batch]))
    return chosen


def _sample_from_nucleus(rows: SampledRows) -> Ints:
    """Sample with top_p alone; reads only the likeliest tiles where these hold top_p of the sum."""
    sums = rows.logits.sums(rows.temperatures)
    totals = sums.sum(axis=1)
    chosen = np.full(len(totals), NO_TOKEN)
    is_enough = np.full(len(totals), False)
    bounds = rows.logits.bounds_of_top(np.full(len(totals), FIRST_TILES))
    # The sum of whole tiles is a little more than that of their tokens above the bound.
    at_most = (sums * (rows.logits.maxima >= bounds[:, None])).sum(axis=1)
    narrow = np.flatnonzero(at_most >= rows.top_p * totals)
    likely = rows.select(narrow)
    for batch in likely.logits.batches(bounds[narrow]):
        part, which = likely.select(batch), narrow[batch]
        found = part.logits.at_least(bounds[which])
        chosen[which], is_enough[which] = _sample_from(part, found, totals[which])
    wide = np.flatnonzero(~is_enough & np.isfinite(totals))
    if len(wide):
        chosen[wide] = _sample_from_wide_nucleus(rows.select(wide), sums[wide])
    return np.where(np.isfinite(totals), chosen, NO_TOKEN)


def _sample_from_wide_nucleus(rows: SampledRows, sums: Doubles) -> Ints:
    """Try up to 7 times by rejection, then sample exactly.

    Each try samples from all tokens and is accepted if the token is in the nucleus. That gives
    each token of the nucleus its own probability, and does not need the edge of the nucleus. Only
    rows without an accepted try, whose top_p is low, are sorted.
    """
    chosen = np.full(len(sums), NO_TOKEN)
    totals = sums.sum(axis=1)
    for uniforms in rows.uniforms.T[:-1]:
        missing = np.flatnonzero(chosen == NO_TOKEN)
        if len(missing) == 0:
            return chosen
        part = rows.select(missing)
        tokens = _find_by_sums(part, sums[missing], uniforms[missing])
        is_in = _is_in_nucleus(part, tokens, sums[missing])
        chosen[missing[is_in]] = tokens[is_in]
    for row in np.flatnonzero(chosen == NO_TOKEN):
        one = rows.select(np.array([row]))
        everything = one.logits.at_least(np.array([-np.inf], np.float32))
        chosen[row : row + 1], _ = _sample_from(one, everything, totals[row : row + 1], -1)
    return chosen


def _is_in_nucleus(rows: SampledRows, tokens: Ints, sums: Doubles) -> Bools:
    """Whether the tokens that are likelier than these hold less than top_p of the sum."""
    wanted = rows.top_p * sums.sum(axis=1)
    values = rows.logits.of_tokens(tokens)
    # The sum of all tiles with likelier tokens is an upper bound, which mostly decides already.
    at_most = sums * (rows.logits.maxima > values[:, None])
    size = -(-sums.shape[1] // NUM_PARTS)
    parts = [slice(start, start + size) for start in range(0, sums.shape[1], size)]
    # What the parts from each one on hold at most; nothing after the last one.
    left = np.zeros((len(parts) + 1, len(tokens)))
    for number, part in reversed([*enumerate(parts)]):
        left[number] = left[number + 1] + at_most[:, part].sum(axis=1)
    is_in: Bools = left[0] < wanted
    above = np.zeros(len(tokens))
    rest = np.flatnonzero(~is_in)
    for number, part in enumerate(parts, start=1):
        if len(rest) == 0:
            break
        some = rows.select(rest)
        above[rest] += some.logits.sums_above(some.temperatures, tokens[rest], part)
        is_in[rest] = above[rest] + left[number, rest] < wanted[rest]
        rest = rest[~is_in[rest] & (above[rest] < wanted[rest])]
    return is_in


def _sample_from(
    rows: SampledRows, found: TokenLogits, totals: Doubles | None = None, uniform: int = 0
) -> tuple[Ints, Bools]:
    """Sample from the likeliest tokens; also returns where these hold enough for top_p.

    `totals` are the sums over all tokens, given where top_p is the only limit; `uniform` is the
    index of the random number to use.
    """
    edges, is_enough = _edges(rows, found.values, totals)
    weights = rows.weights(found.values)
    weights *= found.values >= edges[:, None]
    sums = _sums(weights)
    places = _search_in(weights, sums, rows.uniforms[:, uniform] * sums.sum(axis=1))
    chosen: Ints = found.token_ids[np.arange(len(places)), places]
    return chosen, is_enough


def _edges(rows: SampledRows, values: Floats, totals: Doubles | None) -> tuple[Floats, Bools]:
    """The lowest logit of each row that min_p, top_k and top_p keep.

    top_p is nucleus sampling (arXiv 1904.09751): the smallest set of likeliest tokens which holds
    that part of the sum. Also returns where `values` hold as much.
    """
    numbers = np.arange(len(values))
    descending = np.sort(values, axis=1)[:, ::-1]
    weights = rows.weights(descending)
    num_likely = np.count_nonzero(weights >= rows.min_p[:, None], axis=1)
    edges = descending[numbers, np.minimum(num_likely, rows.top_k) - 1]
    if (rows.top_p >= 1.0).all():
        return edges, np.full(len(values), True)
    weights *= descending >= edges[:, None]
    sums = _sums(weights)
    found = sums.sum(axis=1)
    wanted = rows.top_p * (found if totals is None else totals)
    # _search_in finds the first running sum above its target; here one that equals it is enough.
    last = _search_in(weights, sums, np.nextafter(wanted, -np.inf))
    return np.where(rows.top_p < 1.0, descending[numbers, last], edges), found >= wanted


def _sums(weights: Floats) -> Doubles:
    """Sums over parts of the rows, f64[K, C / PART]."""
    parts = weights.reshape(len(weights), -1, PART)
    return np.asarray(parts.sum(axis=2), np.float64)


def _search_in(weights: Floats, sums: Doubles, targets: Doubles) -> Ints:
    parts = weights.reshape(len(weights), -1, PART)
    rows = np.arange(len(weights))
    return _search(sums, lambda numbers: parts[rows, numbers], targets)


def _search(sums: Doubles, weights_in: Callable[[Ints], Floats], targets: Doubles) -> Ints:
    """The position at which the running sum of each row's weights first exceeds its target.

    `sums` are the sums over parts of the rows; `weights_in` returns the weights of one part of
    each row.
    """
    cumulative = np.cumsum(sums, axis=1)
    parts = first_above(cumulative, targets)
    before = cumulative[np.arange(len(parts)), parts - 1]
    weights = weights_in(parts)
    rests = np.where(parts > 0, targets - before, targets)
    inside = first_above(np.cumsum(weights, axis=1, dtype=np.float64), rests)
    return np.asarray(parts * weights.shape[1] + inside, np.int64)


def first_above(cumulative: Doubles, targets: Doubles) -> Ints:
    """The position at which each running sum first exceeds its target.

    Rounding may lift a target to the total; then it is the last position that adds anything.
    """
    found = np.count_nonzero(cumulative <= targets[:, None], axis=1)
    last = np.count_nonzero(cumulative < cumulative[:, -1:], axis=1)
    return np.asarray(np.minimum(found, last), np.int64)
