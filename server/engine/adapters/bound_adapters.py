"""The adapters' inputs of one infer request."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.adapters.adapter_store import Adapter, AdapterStore
from server.engine.adapters.branches import TILES_INPUT
from server.engine.adapters.staged_weights import StagedWeights

__all__ = ["BoundAdapters"]

Rows = npt.NDArray[np.int32]


class BoundAdapters:
    """Sets the weights of a step's adapters where they change, and packs which rows have them."""

    def __init__(self, store: AdapterStore, request: Any) -> None:
        self._request = request
        self._staged = StagedWeights(store.modules.values(), store.element_type)
        self._bound: Sequence[bytes | None] | None = None

    def pack(self, rows: Iterable[tuple[Adapter | None, int]]) -> Mapping[str, Rows]:
        """The tiles of a step: `rows` has the adapter of each sequence, and its number of rows."""
        rows_of: dict[Adapter, list[Rows]] = {}
        begin = 0
        for adapter, num_rows in rows:
            if adapter is not None:
                own = np.arange(begin, begin + num_rows, dtype=np.int32)
                rows_of.setdefault(adapter, []).append(own)
            begin += num_rows
        places = self._staged.stage(rows_of)
        if places is not self._bound:
            for name, tensor in self._staged.tensors().items():
                self._request.set_tensor(name, tensor)
            self._bound = places
        in_order = sorted(rows_of, key=lambda adapter: places.index(adapter.identity))
        return {TILES_INPUT: pack_tiles([np.concatenate(rows_of[each]) for each in in_order])}


def pack_tiles(joined: Sequence[Rows]) -> Rows:
    """One tile for each adapter, with its rows. It is filled up with its last row."""
    num_rows = _padded(max(map(len, joined), default=0))
    tiles = np.empty((len(joined), num_rows), np.int32)
    for tile, own in zip(tiles, joined, strict=True):
        tile[: len(own)] = own
        tile[len(own) :] = own[-1]
    return tiles


def _padded(num_rows: int) -> int:
    """A multiple of 4, of 32 from 32 on: new shapes cost time."""
    step = 4 if num_rows < 32 else 32
    return -(-num_rows // step) * step
