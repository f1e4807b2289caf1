"""Which adapters a model begins with, and whether it takes others later."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["NO_ADAPTERS", "AdapterSettings", "AdapterSource"]


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """An adapter's name, its file or folder, and a factor for all that it adds."""

    name: str
    path: Path
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """`sources` are loaded with the model. If it `is_open`, others may follow while it runs.

    Those may change the layers whose names end with one of `targets`, or all if there are none. A
    model that is only open, and cannot have adapters, is loaded without them. A model that is
    loaded again has branches at the same `modules`, whatever has become of the files meanwhile.
    """

    sources: tuple[AdapterSource, ...] = ()
    is_open: bool = False
    targets: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def are_wanted(self) -> bool:
        """Whether the graph of the model needs branches for adapters."""
        return bool(self.sources) or self.is_open


NO_ADAPTERS = AdapterSettings()
