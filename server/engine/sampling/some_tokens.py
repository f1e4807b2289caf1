"""Rows of logits of some tokens only: a small vocabulary of their own."""

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import PART, Logits

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


MANY, SIZE_OF_MANY = 2**11, 128
"""Large tiles take less time in a list of many tokens, small ones in a short one."""


def only_tokens(logits: Logits, token_ids: list[Ints]) -> Logits:
    """The logits of `token_ids[i]` of row i, in this order.

    Either all lists are of MANY tokens or none is: a row's token depends on no other row.
    Rows with fewer tokens than others end with logits of -inf. Choosing among these gives the
    places of the tokens that choosing from a row with -inf for all other tokens would give.
    """
    widest = max(map(len, token_ids))
    size = SIZE_OF_MANY if widest >= MANY else PART
    num_tiles = -(-widest // size)
    values = np.full((len(token_ids), num_tiles * size), -np.inf, np.float32)
    for i, ids in enumerate(token_ids):
        values[i, : len(ids)] = logits.some_of_row(i, ids)
    return Logits(values, values.shape[1], SmallTiles(num_tiles, size))


class SmallTiles:
    """Tiles of rows so short that numpy reads them as fast as a graph."""

    max_sum_rows = 1024

    def __init__(self, num: int, size: int) -> None:
        self.num, self.size = num, size

    def maxima(self, rows: Floats) -> Floats:
        """As Tiles says, but a tile with NaN has the maximum NaN: its row gives no token."""
        maxima: Floats = rows.reshape(len(rows), self.num, self.size).max(axis=2)
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
