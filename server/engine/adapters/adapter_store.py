"""The adapters of one model: their matrices, joined for its branches, and who has which slot."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from threading import Lock

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.adapters.branches import AdaptedModule
from server.engine.adapters.module_names import find_modules
from server.engine.adapters.peft_adapter import LowRank, PeftAdapter
from server.engine.adapters.settings import AdapterSource
from server.errors import InvalidRequestError, ModelLoadError, ModelNotFoundError, did_you_mean
from server.host.memory import RESERVATIONS, available_bytes

__all__ = ["Adapter", "AdapterStore", "JoinedWeights"]

logger = logging.getLogger(__name__)

RANK_STEP = 8
Matrix = npt.NDArray[np.float32] | npt.NDArray[np.uint16]


@dataclass(eq=False, slots=True)
class Adapter:
    """A loaded adapter. `identity` is part of that of each block that was computed with it.

    Without a slot it was unloaded, and no request may begin with it.
    """

    source: AdapterSource
    rank: int
    num_modules: int
    slot: int | None
    identity: bytes = field(default_factory=lambda: token_bytes(16))

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.source.name


class JoinedWeights:
    """The inputs of all branches, with room for `num_slots` adapters of at most `rank`.

    Slots without an adapter, and ranks beyond an adapter's own, are zeros. A matrix is bf16 as u16,
    or f32.
    """

    def __init__(
        self,
        modules: Sequence[AdaptedModule],
        element_type: ov.Type,
        num_slots: int,
        rank: int,
    ) -> None:
        self.num_slots, self.rank = num_slots, rank
        self.tensors: dict[str, ov.Tensor] = {}
        self._arrays: dict[str, Matrix] = {}
        self._is_bf16 = element_type == ov.Type.bf16
        dtype = np.uint16 if self._is_bf16 else np.float32
        for module in modules:
            for name, shape in (
                (module.a_input, (num_slots, module.num_inputs, rank)),
                (module.b_input, (num_slots, rank, module.num_outputs)),
            ):
                array = np.zeros(shape, dtype)
                flat = array.reshape(-1).view(np.uint8)
                self.tensors[name] = ov.Tensor(flat, ov.Shape(shape), element_type)
                self._arrays[name] = array

    def copy_from(self, other: "JoinedWeights") -> None:
        """Take the adapters of smaller ones."""
        for name, array in self._arrays.items():
            old = other._arrays[name]
            array[tuple(slice(size) for size in old.shape)] = old

    def write(self, slot: int, weights: Mapping[AdaptedModule, LowRank]) -> None:
        """Put an adapter into a slot, in the place of what was there."""
        for array in self._arrays.values():
            array[slot] = 0
        for module, (a, b) in weights.items():
            rank = a.shape[1]
            self._arrays[module.a_input][slot, :, :rank] = self._stored(a)
            self._arrays[module.b_input][slot, :rank] = self._stored(b)

    def _stored(self, values: npt.NDArray[np.float32]) -> Matrix:
        return _as_bf16(values) if self._is_bf16 else values


class AdapterStore:
    """Adapters by name, for the branches of `modules`.

    Loading and unloading is for any thread but the engine's; it writes to slots that no step reads.
    `weights` is replaced by larger ones where there is no room. The engine's thread alone takes the
    slots of unloaded adapters that no request has any more.
    """

    def __init__(self, modules: Sequence[AdaptedModule], element_type: ov.Type) -> None:
        self.modules = {module.name: module for module in modules}
        self.element_type = element_type
        self.weights = JoinedWeights(modules, element_type, 0, RANK_STEP)
        self._by_name: dict[str, Adapter] = {}
        self._unloaded: set[Adapter] = set()
        self._changing = Lock()

    @property
    def adapters(self) -> Sequence[Adapter]:
        """Those that requests may name."""
        return tuple(self._by_name.values())

    def find(self, name: str) -> Adapter:
        """The adapter of this name. Raises ModelNotFoundError."""
        adapter = self._by_name.get(name)
        if adapter is None:
            names = list(self._by_name)
            hint = did_you_mean(name, names) or f"; adapters: {', '.join(names) or 'none'}"
            raise ModelNotFoundError(f"there is no adapter {name[:100]!r}{hint}")
        return adapter

    def load(self, source: AdapterSource, replaces: bool = False) -> Adapter:
        """Load an adapter; with `replaces` one of the same name is unloaded.

        Raises ModelLoadError, or InvalidRequestError where there is one of the same name.
        """
        with self._changing:
            if source.name in self._by_name and not replaces:
                raise InvalidRequestError(
                    f"the adapter {source.name!r} is loaded already; unload it first, or set "
                    "load_inplace",
                    "lora_name",
                )
            self._unloaded = {each for each in self._unloaded if each.slot is not None}
            found = PeftAdapter.find(source.path)
            modules = find_modules(found, self.modules)
            self._check_memory(found.rank)
            matrices = found.read(source.weight)
            weights = {self.modules[name]: matrices[own] for own, name in modules.items()}
            slot = self._make_room(found.rank)
            self.weights.write(slot, weights)
            adapter = Adapter(source, found.rank, len(weights), slot)
            old = self._by_name.get(source.name)
            self._by_name[source.name] = adapter
            if old is not None:
                self._unloaded.add(old)
        return adapter

    def unload(self, name: str) -> None:
        """Let no further request name an adapter; those that have it end with it.

        Raises ModelNotFoundError.
        """
        with self._changing:
            self._unloaded.add(self.find(name))
            del self._by_name[name]

    @property
    def unloaded(self) -> Sequence[Adapter]:
        """Those that no request may name any more, but may still have."""
        with self._changing:
            return tuple(self._unloaded)

    def status(self) -> Mapping[str, object]:
        """The adapters, for operators."""
        return {
            adapter.name: {
                "path": str(adapter.source.path),
                "rank": adapter.rank,
                "modules": adapter.num_modules,
            }
            for adapter in self.adapters
        }

    def _make_room(self, rank: int) -> int:
        """A free slot of at least this rank."""
        slot, num_slots, needed_rank = self._find_room(rank)
        old = self.weights
        if num_slots > old.num_slots or needed_rank > old.rank:
            larger = JoinedWeights(
                tuple(self.modules.values()), self.element_type, num_slots, needed_rank
            )
            larger.copy_from(old)
            self.weights = larger
        return slot

    def _find_room(self, rank: int) -> tuple[int, int, int]:
        """A slot, and the number of slots and the rank that the weights then must have."""
        known = (*self._by_name.values(), *self._unloaded)
        taken = {adapter.slot for adapter in known}
        slot = next(number for number in range(len(taken) + 1) if number not in taken)
        num_slots = max(self.weights.num_slots, slot + 1)
        padded = -(-rank // RANK_STEP) * RANK_STEP
        return slot, num_slots, max(self.weights.rank, padded)

    def _check_memory(self, rank: int) -> None:
        """Raise ModelLoadError where there is no memory for larger weights beside the present."""
        _, num_slots, needed_rank = self._find_room(rank)
        if num_slots <= self.weights.num_slots and needed_rank <= self.weights.rank:
            return
        sizes = (module.num_inputs + module.num_outputs for module in self.modules.values())
        num_bytes = sum(sizes) * num_slots * needed_rank * (self.element_type.size)
        free = available_bytes() - RESERVATIONS.total_bytes
        if num_bytes > free:
            raise ModelLoadError(
                f"{num_slots} adapters of rank {needed_rank} take {num_bytes >> 20} MB, and "
                f"{max(0, free) >> 20} MB are free"
            )


def _as_bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded: npt.NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded
