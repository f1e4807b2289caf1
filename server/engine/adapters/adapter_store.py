"""The adapters of one model, by name, with their matrices as its branches take them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from threading import Lock

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.adapters.branches import AdaptedModule
from server.engine.adapters.module_names import find_modules
from server.engine.adapters.peft_adapter import ModuleShape, PeftAdapter
from server.engine.adapters.settings import AdapterSource
from server.errors import InvalidRequestError, ModelLoadError, ModelNotFoundError, did_you_mean
from server.host.memory import RESERVATIONS, available_bytes

__all__ = ["Adapter", "AdapterStore", "Matrix"]

logger = logging.getLogger(__name__)

Matrix = npt.NDArray[np.float32] | npt.NDArray[np.uint16]
"""f32, or bf16 as u16."""


@dataclass(eq=False, slots=True)
class Adapter:
    """A loaded adapter. Requests hold it, so it stays until the last of them ends.

    `matrices` has one for each input of the branches that it changes: [inputs, rank] or
    [rank, outputs]. `identity` is part of that of each block that was computed with it.
    """

    source: AdapterSource
    rank: int
    num_modules: int
    matrices: Mapping[str, Matrix]
    identity: bytes = field(default_factory=lambda: token_bytes(16))

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.source.name


class AdapterStore:
    """Adapters by name, for the branches of `modules`. Any thread may load and unload."""

    def __init__(self, modules: Sequence[AdaptedModule], element_type: ov.Type) -> None:
        self.modules = {module.name: module for module in modules}
        self.element_type = element_type
        self._by_name: dict[str, Adapter] = {}
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
            found = PeftAdapter.find(source.path)
            modules = find_modules(found, self.modules)
            self._check_memory(found.shapes.values(), found.rank)
            matrices: dict[str, Matrix] = {}
            for own, (a, b) in found.read(source.weight).items():
                module = self.modules[modules[own]]
                matrices |= {module.a_input: self._stored(a), module.b_input: self._stored(b)}
            adapter = Adapter(source, found.rank, len(modules), matrices)
            self._by_name[source.name] = adapter
        return adapter

    def unload(self, name: str) -> None:
        """Let no further request name an adapter; those that have it end with it.

        Raises ModelNotFoundError.
        """
        with self._changing:
            self.find(name)
            del self._by_name[name]

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

    def _stored(self, values: npt.NDArray[np.float32]) -> Matrix:
        is_bf16 = self.element_type == ov.Type.bf16
        return _as_bf16(values) if is_bf16 else np.ascontiguousarray(values)

    def _check_memory(self, shapes: Iterable[ModuleShape], rank: int) -> None:
        """Raise ModelLoadError without memory for an adapter, and the copies of a step with all.

        Copies have the rank of the largest adapter, in all modules.
        """
        own = sum((shape.num_inputs + shape.num_outputs) * shape.rank for shape in shapes)
        in_all = sum(module.num_inputs + module.num_outputs for module in self.modules.values())
        largest = max([rank, *(adapter.rank for adapter in self.adapters)])
        count = len(self.adapters) + 1
        num_bytes = (own + count * in_all * largest) * self.element_type.size
        free = available_bytes() - RESERVATIONS.total_bytes
        if num_bytes > free:
            raise ModelLoadError(
                f"the adapter, and the copies of a step with {count} of rank {largest}, take "
                f"{num_bytes / 2**20:.1f} MB, and {max(0, free) >> 20} MB are free"
            )


def _as_bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded: npt.NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded
