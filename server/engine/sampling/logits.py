"""The logits of a step, read as little as possible."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from server.engine.sampling.best_places import best_places
from server.engine.sampling.vocab_tiles import Tiles

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PART = 32
"""Tokens whose weights are summed together; the size of a tile is a multiple."""

MAX_TILES = 256
"""A row is wide if more tiles of it must be read; wide rows are read alone, others together."""

MAX_ROWS = 32
"""The most rows that are read together."""


@dataclass(frozen=True, slots=True)
class TokenLogits:
    """Some tokens of each row, in vocabulary order, and their logits.

    `token_ids` is i64[K, C] and `values` f32[K, C], where C is a multiple of PART. A row with fewer
    tokens ends with values of -inf.
    """

    token_ids: Ints
    values: Floats


class Logits:
    """K rows of logits, which know the highest logit of each tile of the vocabulary.

    `values` is f32[R, N * S]: each row has N tiles of S tokens, and the last tile has -inf after
    the end of the vocabulary. `scales`, f32[R] or None for 1, are factors of the rows: a logit is
    multiplied by its row's when it is read. They are positive or NaN, and the logits are finite
    where there are scales. At first K is R; `select` chooses rows.
    """

    def __init__(
        self,
        values: Floats,
        vocab_size: int,
        tiles: Tiles,
        scales: Floats | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self._values, self._tiles = values, tiles
        self._in_tiles = values.reshape(len(values), tiles.num, tiles.size)
        self._has_scales = scales is not None
        self._scales = np.ones(len(values), np.float32) if scales is None else scales
        # Not multiplied by the scales, like the values.
        self._all_maxima: Floats = tiles.maxima(values)
        self._all_highest: Floats = self._all_maxima.max(axis=1, initial=-np.inf)
        self._rows = np.arange(len(values))
        # Selections share it.
        self._later: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def later(self, read: Callable[[], None]) -> None:
        """Call `read`, which may read these logits, before they become invalid."""
        self._later.append(read)

    def settle(self) -> None:
        """Make the calls that wait in `later`."""
        waiting = self._later[:]
        self._later.clear()
        for read in waiting:
            read()

    @property
    def tile_size(self) -> int:
        """Tokens of each tile."""
        return self._tiles.size

    @cached_property
    def maxima(self) -> Floats:
        """The highest logit of each tile, f32[K, N]; NaN among other logits may be ignored."""
        maxima: Floats = self._all_maxima[self._rows] * self._row_scales[:, None]
        return maxima

    @property
    def highest(self) -> Floats:
        """The highest logit of each row."""
        highest: Floats = self._all_highest[self._rows] * self._row_scales
        return highest

    @property
    def _row_scales(self) -> Floats:
        """The factor of each row, f32[K]."""
        scales: Floats = self._scales[self._rows]
        return scales

    def select(self, which: Ints | list[int] | slice) -> "Logits":
        """Some of these rows, without a copy of their logits."""
        rows = self._rows[which]
        if np.array_equal(rows, self._rows):
            return self
        selected = copy(self)
        selected._rows = rows
        selected.__dict__.pop("maxima", None)
        return selected

    def processed_copy(self, change: Callable[[int, Floats], None]) -> "Logits":
        """A copy of these rows, changed by `change(index, row)` for each of them."""
        values = self._values[self._rows] * self._row_scales[:, None]
        for i, row in enumerate(values[:, : self.vocab_size]):
            change(i, row)
        return Logits(values, self.vocab_size, self._tiles)

    @property
    def row_starts(self) -> Ints:
        """Where each of these rows begins among the logits of all rows."""
        starts: Ints = self._rows * self._values.shape[1]
        return starts

    def some_of_row(self, index: int, token_ids: Ints, out: Floats) -> None:
        """Copy the logits of some tokens of one of these rows."""
        row = self._rows[index]
        # The tokens are known to exist: numpy would check them only for a buffer of its own.
        self._values[row].take(token_ids, out=out, mode="clip")
        if self._has_scales:
            out *= self._scales[row]

    def tiles_of(self, num: int) -> Tiles:
        """What reduces rows of so many tiles of the same size."""
        return self._tiles.resized(num)

    @contextmanager
    def processed_in_place(
        self, places: Ints, change: Callable[[Floats], None]
    ) -> Iterator["Logits"]:
        """These rows, changed in place by `change(logits)` until the `with` block ends.

        `change` gets the logits of all rows as one array, f32[R * N * S], where each row begins at
        its `row_starts`. It may write to `places` only, and may read of other logits only whether
        they are -inf. No row may be selected twice.
        """
        if len(places) == 0:
            yield self
            return
        logits = self._values.reshape(-1)
        kept = old = logits[places]
        if self._has_scales:
            scales = self._scales[places // self._values.shape[1]]
            old = kept * scales
            logits[places] = old
        try:
            change(logits)
            new = logits[places]
            if self._has_scales:
                logits[places] = new / scales
            yield self._with_new_maxima(places, old, new)
        finally:
            logits[places] = kept

    def _with_new_maxima(self, places: Ints, old: Floats, new: Floats) -> "Logits":
        """These rows, with new maxima for tiles whose maximum may have changed."""
        tiles = places // self._tiles.size
        before = self._all_maxima.reshape(-1)[tiles]
        if self._has_scales:
            before = before * self._scales[tiles // self._tiles.num]
        tiles = tiles[~((old < before) & (new <= before))]
        changed = copy(self)
        changed.__dict__.pop("maxima", None)
        changed._all_maxima = self._all_maxima.copy()
        found = self._in_tiles.reshape(-1, self._tiles.size)[tiles].max(axis=1, initial=-np.inf)
        changed._all_maxima.reshape(-1)[tiles] = found
        changed._all_highest = self._all_highest.copy()
        highest = changed._all_maxima[self._rows].max(axis=1, initial=-np.inf)
        changed._all_highest[self._rows] = highest
        return changed

    def argmax(self) -> Ints:
        """The likeliest token of each row; among equal ones the first."""
        tiles = self.maxima.argmax(axis=1)
        inside = self.in_tile(tiles).argmax(axis=1)
        return np.asarray(tiles * self._tiles.size + inside, np.int64)

    def of_tokens(self, token_ids: Ints) -> Floats:
        """The logit of one token of each row."""
        values: Floats = self._values[self._rows, token_ids] * self._row_scales
        return values

    def in_tile(self, tiles: Ints) -> Floats:
        """The logits of one tile of each row, f32[K, S]."""
        values: Floats = self._in_tiles[self._rows, tiles] * self._row_scales[:, None]
        return values

    def sums(self, temperatures: Floats) -> Doubles:
        """Sums of exp((logit - highest) / temperature) over each tile, f64[K, N]."""
        sums = np.empty(self.maxima.shape, np.float64)
        # The logits are not multiplied by their scale, so the temperature is divided by it.
        factors = self._row_scales / temperatures
        highest = self._all_highest[self._rows]
        for part in self._neighbours(self._tiles.max_sum_rows):
            rows = self._in_tiles[self._rows[part.start] :][: part.stop - part.start]
            sums[part] = self._tiles.sums(rows, highest[part], factors[part])
        return sums

    def sums_above(self, temperatures: Floats, tokens: Ints, tiles: slice) -> Doubles:
        """The same sum over the tokens of some tiles that are likelier than `tokens[i]`, f64[K]."""
        sums = np.empty(len(self), np.float64)
        factors = self._row_scales / temperatures
        highest = self._all_highest[self._rows]
        floors = self._values[self._rows, tokens]
        num_tiles = len(range(*tiles.indices(self._tiles.num)))
        rows_at_once = max(1, self._tiles.max_sum_rows * self._tiles.num // num_tiles)
        for start in range(0, len(self), rows_at_once):
            part = slice(start, start + rows_at_once)
            rows = self._in_tiles[self._rows[part], tiles]
            found = self._tiles.sums_above(rows, highest[part], factors[part], floors[part])
            sums[part] = found.sum(axis=1, dtype=np.float64)
        return sums

    def _neighbours(self, most: int) -> Iterator[slice]:
        """Parts of these rows, of up to `most` rows that are neighbours in memory."""
        ends = np.flatnonzero(np.diff(self._rows) != 1) + 1
        for start, stop in itertools.pairwise([0, *ends.tolist(), len(self)]):
            for first in range(start, stop, most):
                yield slice(first, min(first + most, stop))

    def bounds_of_top(self, counts: Ints) -> Floats:
        """For each row a lower bound of its `counts` highest logits; mostly a close one.

        It is the highest logit of the tile that is number `counts` by its highest logit; -inf where
        there are fewer tiles.
        """
        num_tiles = self.maxima.shape[1]
        places = np.maximum(num_tiles - counts, 0)
        ordered = np.partition(self.maxima, np.unique(places), axis=1)
        bounds = ordered[np.arange(len(self)), places]
        return np.where(counts <= num_tiles, bounds, np.float32(-np.inf))

    def batches(self, bounds: Floats) -> Iterator[Ints]:
        """The indices of all rows, in batches to call `at_least` with: wide rows alone."""
        is_wide = self._is_wide(bounds)
        narrow = np.flatnonzero(~is_wide)
        for start in range(0, len(narrow), MAX_ROWS):
            yield narrow[start : start + MAX_ROWS]
        yield from np.flatnonzero(is_wide)[:, None]

    def _is_wide(self, bounds: Floats) -> npt.NDArray[np.bool_]:
        num_tiles = np.count_nonzero(self.maxima >= bounds[:, None], axis=1)
        return np.asarray(num_tiles > MAX_TILES, np.bool_)

    def at_least(self, bounds: Floats) -> TokenLogits:
        """The tokens whose logit is not below their row's bound; all tokens of a wide row alone."""
        if len(self) == 1 and self._is_wide(bounds)[0]:
            values = self._values[self._rows] * self._row_scales[:, None]
            return TokenLogits(np.arange(values.shape[1])[None], values)
        rows, tiles = _nonzero(self.maxima >= bounds[:, None])
        values = self._in_tiles[self._rows[rows], tiles]
        if self._has_scales:
            values *= self._row_scales[rows, None]
        found, inside = _nonzero(values >= bounds[rows, None])
        of_row = rows[found]
        counts = np.bincount(of_row, minlength=len(self))
        places = np.arange(len(of_row)) - (np.cumsum(counts) - counts)[of_row]
        shape = len(self), -(-int(counts.max(initial=1)) // PART) * PART
        token_ids, logits = np.zeros(shape, np.int64), np.full(shape, -np.inf, np.float32)
        token_ids[of_row, places] = tiles[found] * self._tiles.size + inside
        logits[of_row, places] = values[found, inside]
        return TokenLogits(token_ids, logits)

    def likeliest(self, count: int) -> TokenLogits:
        """The `count` likeliest tokens of each row, best first; among equal ones the first."""
        count = min(count, self.vocab_size)
        token_ids = np.zeros((len(self), count), np.int64)
        values = np.full((len(self), count), -np.inf, np.float32)
        if count == 0:
            return TokenLogits(token_ids, values)
        bounds = self.bounds_of_top(np.full(len(self), count))
        for batch in self.batches(bounds):
            found = self.select(batch).at_least(bounds[batch])
            best = best_places(found.values, count)
            width = slice(best.shape[1])
            token_ids[batch, width] = np.take_along_axis(found.token_ids, best, axis=1)
            values[batch, width] = np.take_along_axis(found.values, best, axis=1)
        return TokenLogits(token_ids, values)


def _nonzero(is_set: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Row and column of what is set; np.nonzero takes several times as long."""
    rows, columns = np.divmod(np.flatnonzero(is_set), is_set.shape[1])
    return rows, columns
