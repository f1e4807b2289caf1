"""Rows of logits of some tokens only: a small vocabulary of their own."""

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import PART, Logits

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def only_tokens(logits: Logits, token_ids: list[Ints]) -> tuple[Logits, Ints]:
    """The logits of `token_ids[i]` of row i, and which tokens they are, i64[K, C].

    Rows with fewer tokens than others end with logits of -inf, of token 0. Choosing among these
    gives the tokens that choosing from a row with -inf for all other tokens would give.
    """
    num_tiles = -(-max(map(len, token_ids)) // PART)
    shape = len(token_ids), num_tiles * PART
    kept, values = np.zeros(shape, np.int64), np.full(shape, -np.inf, np.float32)
    for i, ids in enumerate(token_ids):
        kept[i, : len(ids)] = ids
        values[i, : len(ids)] = logits.some_of_row(i, ids)
    return Logits(values, shape[1], SmallTiles(num_tiles)), kept


class SmallTiles:
    """Tiles of PART tokens for rows so short that numpy reads them as fast as a graph."""

    size = PART
    max_sum_rows = 1024

    def __init__(self, num: int) -> None:
        self.num = num

    def maxima(self, rows: Floats) -> Floats:
        """As Tiles says."""
        tiles = rows.reshape(len(rows), self.num, self.size)
        maxima: Floats = np.fmax.reduce(tiles, axis=2)
        return maxima

    def sums(
        self, rows: Floats, highest: Floats, factors: Floats, above: Floats | None = None
    ) -> Floats:
        """As Tiles says."""
        column = (slice(None), None, None)
        weights = np.exp((rows - highest[column]) * factors[column])
        if above is not None:
            weights[rows <= above[column]] = 0
        sums: Floats = weights.sum(axis=2)
        return sums
