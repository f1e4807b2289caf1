"""Rows of logits of some tokens only: a small vocabulary of their own."""

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import PART, Logits

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


MANY = 2**11
"""Longer lists of tokens have the large tiles of a vocabulary, which a graph reads."""


def only_tokens(logits: Logits, token_ids: list[Ints]) -> Logits:
    """The logits of `token_ids[i]` of row i, in this order.

    Either all lists are of MANY tokens or none is: a row's token depends on no other row.
    Rows with fewer tokens than others end with logits of -inf. Choosing among these gives the
    places of the tokens that choosing from a row with -inf for all other tokens would give.
    """
    widest = max(map(len, token_ids))
    size = logits.tile_size if widest >= MANY else PART
    num_tiles = -(-widest // size)
    values = np.empty((len(token_ids), num_tiles * size), np.float32)
    for i, ids in enumerate(token_ids):
        logits.some_of_row(i, ids, values[i, : len(ids)])
        values[i, len(ids) :] = -np.inf
    tiles = logits.tiles_of(num_tiles) if widest >= MANY else SmallTiles(num_tiles, size)
    return Logits(values, values.shape[1], tiles)


class SmallTiles:
    """Tiles of rows so short that numpy reads them as fast as a graph."""

    max_sum_rows = 1024

    def __init__(self, num: int, size: int) -> None:
        self.num, self.size = num, size

    def resized(self, num: int) -> "SmallTiles":
        """As Tiles says."""
        return SmallTiles(num, self.size)

    def maxima(self, rows: Floats) -> Floats:
        """As Tiles says, but a tile with NaN has the maximum NaN: its row gives no token."""
        maxima: Floats = rows.reshape(len(rows), self.num, self.size).max(axis=2)
        return maxima

    def sums(self, rows: Floats, highest: Floats, factors: Floats) -> Floats:
        """As Tiles says."""
        sums: Floats = _weights(rows, highest, factors).sum(axis=2)
        return sums

    def sums_above(self, rows: Floats, highest: Floats, factors: Floats, above: Floats) -> Floats:
        """As Tiles says."""
        weights = _weights(rows, highest, factors)
        weights[rows <= above[:, None, None]] = 0
        sums: Floats = weights.sum(axis=2)
        return sums


def _weights(rows: Floats, highest: Floats, factors: Floats) -> Floats:
    weights: Floats = (rows - highest[:, None, None]) * factors[:, None, None]
    return np.exp(weights, out=weights)
