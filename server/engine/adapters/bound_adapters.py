"""The adapters' inputs of one infer request."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.adapters.adapter_store import Adapter, AdapterStore, JoinedWeights
from server.engine.adapters.branches import PLACES_INPUT, SLOTS_INPUT, TILES_INPUT

__all__ = ["BoundAdapters"]

Rows = Iterable[tuple[Adapter | None, int]]
"""The adapter of each sequence of a step, and the number of its rows."""


class BoundAdapters:
    """Sets the weights of adapters when there are new ones, and packs what a step has of them."""

    def __init__(self, store: AdapterStore, request: Any) -> None:
        self._store = store
        self._request = request
        self._bound: JoinedWeights | None = None

    def pack(self, rows: Rows, num_tokens: int) -> Mapping[str, npt.NDArray[np.int32]]:
        """The tiles of a step of `num_tokens` rows, of which those at the end may be padding."""
        weights = self._store.weights
        if weights is not self._bound:
            for name, tensor in weights.tensors.items():
                self._request.set_tensor(name, tensor)
            self._bound = weights
        return pack_tiles(rows, num_tokens)


def pack_tiles(rows: Rows, num_tokens: int) -> dict[str, npt.NDArray[np.int32]]:
    """One tile for each adapter: its rows, its slot, and where each row of the step is in them."""
    rows_of: dict[int, list[npt.NDArray[np.int32]]] = {}
    begin = 0
    for adapter, num_rows in rows:
        if adapter is not None:
            assert adapter.slot is not None, "requests of an adapter keep its slot"
            own = np.arange(begin, begin + num_rows, dtype=np.int32)
            rows_of.setdefault(adapter.slot, []).append(own)
        begin += num_rows
    joined = [np.concatenate(parts) for parts in rows_of.values()]
    num_rows = _padded(max(map(len, joined), default=0))
    tiles = np.zeros((len(joined), num_rows), np.int32)
    places = np.zeros(num_tokens if joined else 1, np.int32)
    for number, own in enumerate(joined):
        tiles[number, : len(own)] = own
        places[own] = 1 + number * num_rows + np.arange(len(own))
    slots = np.fromiter(rows_of, np.int32, len(rows_of))
    return {TILES_INPUT: tiles, SLOTS_INPUT: slots, PLACES_INPUT: places}


def _padded(num_rows: int) -> int:
    """A multiple of 4, of 32 from 32 on: new shapes cost time."""
    step = 4 if num_rows < 32 else 32
    return -(-num_rows // step) * step
