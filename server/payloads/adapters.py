"""Adapters of a text model that come and go while it serves."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

__all__ = ["AdapterLoader", "LateAdapters"]


class AdapterLoader(ABC):
    """A side packet of this type loads adapters of its model. The methods take a worker thread."""

    @abstractmethod
    def load_adapter(self, name: str, path: Path, *, replaces: bool) -> None:
        """Load an adapter; with `replaces` it may take the place of one of the same name.

        Raises InvalidRequestError or ModelLoadError.
        """

    @abstractmethod
    def unload_adapter(self, name: str) -> None:
        """Let no further request have an adapter. Raises ModelNotFoundError."""


class LateAdapters:
    """The adapters that were loaded into models while they served; any thread may ask.

    A model that is loaded again gets them again.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._paths: dict[str, dict[str, Path]] = {}

    def of(self, model: str) -> Mapping[str, Path]:
        """Those of a model by name."""
        with self._lock:
            return dict(self._paths.get(model, {}))

    def keep(self, model: str, name: str, path: Path) -> None:
        """Note that an adapter was loaded."""
        with self._lock:
            self._paths.setdefault(model, {})[name] = path

    def forget(self, model: str, name: str) -> None:
        """Note that an adapter is not wanted any more; harmless if it was not loaded late."""
        with self._lock:
            self._paths.get(model, {}).pop(name, None)
