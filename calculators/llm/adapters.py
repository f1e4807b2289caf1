"""The LoRA adapters of an LLM node: those of its options and flags, and those that come later."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from calculators.llm.llm_options import LLMCalculatorOptions
from server.engine import AdapterSettings, AdapterSource, ReplaceableEngine
from server.errors import ConfigError, InvalidRequestError, ModelLoadError
from server.graph import OpenContext, ServedNames
from server.payloads import AdapterLoader, LateAdapters, LoadOptions

__all__ = ["NodeAdapters", "adapter_settings"]

logger = logging.getLogger(__name__)


def adapter_settings(cc: OpenContext, options: LLMCalculatorOptions) -> AdapterSettings:
    """The adapters that a node begins with, and which others it takes. Raises ConfigError."""
    load = cc.service(LoadOptions)
    sources = [
        AdapterSource(each.alias, cc.resolve(each.path), each.alpha)
        for each in options.lora_adapters
    ]
    sources += [AdapterSource(name, path) for name, path in load.lora_modules]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1 or name == cc.graph_name:
            raise ConfigError(f"node {cc.node_name!r}: two adapters or models are called {name!r}")
    return AdapterSettings(tuple(sources), load.takes_lora_adapters, options.lora_target_modules)


class NodeAdapters(AdapterLoader):
    """Loads adapters into the engine of a node; `tell` gets their names whenever they change."""

    def __init__(
        self, engine: ReplaceableEngine, cc: OpenContext, tell: Callable[[ServedNames], None]
    ) -> None:
        self._engine = engine
        self._model = cc.graph_name
        self._late = cc.service(LateAdapters)
        self._tell = tell
        self._load_late_ones()
        self._tell_names()

    def load_adapter(self, name: str, path: Path, *, replaces: bool) -> None:
        """Load an adapter. Raises InvalidRequestError or ModelLoadError."""
        if not self._engine.is_open:
            raise InvalidRequestError(
                f"model {self._model!r} takes no adapters while it serves: its graph has no "
                "branches for them",
                "model",
            )
        self._engine.load_adapter(AdapterSource(name, path), replaces)
        self._late.keep(self._model, name, path)
        self._tell_names()

    def unload_adapter(self, name: str) -> None:
        """Let no further request have an adapter. Raises ModelNotFoundError."""
        self._engine.unload_adapter(name)
        self._late.forget(self._model, name)
        self._tell_names()

    @property
    def sources(self) -> Sequence[AdapterSource]:
        """The adapters that requests may name."""
        store = self._engine.current.adapters
        return () if store is None else tuple(adapter.source for adapter in store.adapters)

    def status(self) -> dict[str, object]:
        """The adapters, for operators; nothing where the model takes none."""
        store = self._engine.current.adapters
        return {} if store is None else {"adapters": store.status()}

    def _load_late_ones(self) -> None:
        """Load what was loaded into this model before it was loaded again.

        It may have taken the place of one that the node begins with.
        """
        for name, path in self._late.of(self._model).items():
            try:
                self._engine.load_adapter(AdapterSource(name, path), replaces=True)
            except (InvalidRequestError, ModelLoadError) as error:
                logger.warning("Model %s: the adapter %r is lost: %s", self._model, name, error)
                self._late.forget(self._model, name)

    def _tell_names(self) -> None:
        sources = self.sources
        names = tuple(source.name for source in sources)
        self._tell(ServedNames(names, tuple(str(source.path) for source in sources)))
