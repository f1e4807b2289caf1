"""The weights of the adapters that steps have, joined as the branches take them."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import openvino as ov

from server.engine.adapters.adapter_store import Adapter, Matrix
from server.engine.adapters.branches import AdaptedModule

__all__ = ["StagedWeights"]

RANK_STEP = 8


class StagedWeights:
    """Copies of the adapters of a step, one after the other: a step reads them all, and no others.

    Steps mostly have the adapters of the one before. Then nothing is copied. Only the engine's
    thread may use it, and only between inferences.
    """

    def __init__(self, modules: Iterable[AdaptedModule], element_type: ov.Type) -> None:
        self._element_type = element_type
        self._shapes: dict[str, tuple[int | None, int | None]] = {}
        for module in modules:
            self._shapes[module.a_input] = module.num_inputs, None
            self._shapes[module.b_input] = None, module.num_outputs
        self._rank = RANK_STEP
        # Whose copy is in each place. Not the adapter, which would then outlive its unloading.
        self._places: list[bytes | None] = []
        self._arrays: dict[str, Matrix] = {}
        self._used: tuple[bytes | None, ...] = ()
        self._make_arrays(0)

    def stage(self, adapters: Collection[Adapter]) -> Sequence[bytes | None]:
        """Copy adapters to the first places; returns their identities in the order of the places.

        That is the same object as long as the same adapters are staged.
        """
        missing = {adapter.identity: adapter for adapter in adapters}
        if missing.keys() == set(self._used):
            return self._used
        count = len(adapters)
        # If there is no memory for them, nothing counts as staged.
        self._used = ()
        if adapters:
            self._fit_rank(max(adapter.rank for adapter in adapters))
            if count > len(self._places):
                self._make_arrays(max(count, 2 * len(self._places)))
        others = []
        for place, identity in enumerate(self._places[:count]):
            if identity is None or missing.pop(identity, None) is None:
                others.append(place)
        for place, (identity, adapter) in zip(others, missing.items(), strict=True):
            self._write(place, adapter)
            self._places[place] = identity
        self._used = tuple(self._places[:count])
        return self._used

    def tensors(self) -> dict[str, ov.Tensor]:
        """The inputs of all branches: [places, inputs, rank] and [places, rank, outputs]."""
        tensors = {}
        for name, array in self._arrays.items():
            used = array[: len(self._used)]
            flat = used.reshape(-1).view(np.uint8)
            tensors[name] = ov.Tensor(flat, ov.Shape(used.shape), self._element_type)
        return tensors

    def _fit_rank(self, rank: int) -> None:
        """Give the places the rank of the largest adapter; a much larger one would cost time."""
        padded = -(-rank // RANK_STEP) * RANK_STEP
        if padded > self._rank or 2 * padded <= self._rank:
            count, self._places, self._rank = len(self._places), [], padded
            self._make_arrays(count)

    def _make_arrays(self, capacity: int) -> None:
        """Make room for that many adapters, and keep what is in places; without memory, nothing."""
        kept, self._places = self._places, []
        try:
            for name, shape in self._shapes.items():
                new = self._zeros(capacity, shape)
                if kept:
                    new[: len(kept)] = self._arrays[name]
                self._arrays[name] = new
        except MemoryError:
            # They must have one size.
            self._arrays = {name: self._zeros(0, shape) for name, shape in self._shapes.items()}
            raise
        self._places = kept + [None] * (capacity - len(kept))

    def _zeros(self, capacity: int, shape: tuple[int | None, int | None]) -> Matrix:
        sizes = capacity, *(size or self._rank for size in shape)
        if self._element_type == ov.Type.bf16:
            return np.zeros(sizes, np.uint16)
        return np.zeros(sizes, np.float32)

    def _write(self, place: int, adapter: Adapter) -> None:
        for name, array in self._arrays.items():
            found = adapter.matrices.get(name)
            if found is None:
                array[place] = 0
                continue
            num_rows, num_columns = found.shape
            array[place, :num_rows, :num_columns] = found
            array[place, num_rows:] = 0
            array[place, :, num_columns:] = 0
