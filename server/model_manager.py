"""Name -> served model: what loads, what takes whose place, and what goes."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from server.config import ModelConfig, ServerConfig
from server.config_source import ConfigSource
from server.errors import (
    ConfigError,
    ModelNotFoundError,
    ModelNotReadyError,
    ReloadError,
    did_you_mean,
)
from server.served_model import ModelState, ServedModel
from server.watched_files import Change

__all__ = ["ModelManager", "ModelState", "ServedModel"]

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 30.0
# Whoever got a graph starts its run a moment later; until then the graph must not refuse it.
HAND_OVER_S = 1.0


class ModelManager:
    """Every model of the configuration, by name, and those that have left it.

    One load runs at a time, of the start or of a reload: it gets the whole machine. The requests of
    a graph that was replaced or removed have `drain_timeout_s` seconds to end.
    """

    def __init__(
        self,
        config: ServerConfig,
        drain_timeout_s: float = DRAIN_TIMEOUT_S,
        cache_dir: Path | None = None,
    ) -> None:
        self._source = ConfigSource(config)
        self._drain_timeout_s = drain_timeout_s
        self._cache_dir = cache_dir
        self._models = {model.name: ServedModel(model) for model in config.models}
        self._removed: dict[str, ServedModel] = {}
        self._loading = asyncio.Lock()
        self._reloads: set[asyncio.Task[bool]] = set()
        self._retirements: set[asyncio.Task[None]] = set()
        self._is_loaded = False
        self._is_closing = False

    @property
    def is_ready(self) -> bool:
        """Whether the initial load has finished, with or without failures, and no end is near."""
        return self._is_loaded and not self._is_closing

    @property
    def is_loading(self) -> bool:
        """Whether models are being loaded, at the start or by a reload."""
        return self._loading.locked()

    def versions(self, name: str) -> Sequence[str]:
        return ("1",)

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """The model of that name, able to serve. Raises ModelNotFoundError, ModelNotReadyError."""
        model = self._models.get(name)
        if model is None:
            raise ModelNotFoundError(self._why_unknown(name))
        if version not in (None, "1"):
            raise ModelNotFoundError(f"model {name!r} has no version {version!r}; versions: 1")
        if self._is_closing:
            raise ModelNotReadyError("the server is shutting down")
        failure = model.failure
        if failure is not None:
            raise ModelNotReadyError(f"model {name!r} cannot serve: {failure}")
        if model.state is not ModelState.AVAILABLE:
            raise ModelNotReadyError(f"model {name!r} is not loaded yet")
        return model

    def served_names(self) -> Sequence[str]:
        """Every configured name."""
        return tuple(self._models)

    def available_models(self) -> Sequence[ServedModel]:
        """The models that can serve now, in the order of the configuration."""
        models = self._models.values()
        return [m for m in models if m.state is ModelState.AVAILABLE and m.failure is None]

    def status(self) -> dict[str, Any]:
        """Model Server's /v1/config; what was removed stays in it."""
        models = self._removed | self._models
        return {name: models[name].status() for name in sorted(models)}

    def find_changes(self) -> frozenset[Change]:
        """The files, of the configuration and of models, that are not what was loaded."""
        models = tuple(self._models.values())
        return self._source.find_changes().union(*(m.files.find_changes() for m in models))

    async def load_all(self) -> None:
        """Load every model for the first time."""
        async with self._loading:
            await self._load([model.config for model in self._models.values()])
            self._is_loaded = True

    async def reload(self, *, retry_failed: bool) -> bool:
        """Take over what the configuration and the models' files are now.

        With `retry_failed` also models are loaded that failed and did not change. Returns whether
        any model was loaded or removed. Raises ConfigError, and nothing has changed, or ReloadError
        for models that cannot be loaded, and all others are as the configuration has them.
        """
        # In a task of its own: a client that leaves must not end it halfway.
        task = asyncio.create_task(self._reload(retry_failed))
        self._reloads.add(task)
        task.add_done_callback(self._note_end)
        await asyncio.wait([task])
        if task.cancelled():
            raise ModelNotReadyError("the server is shutting down")
        return task.result()

    async def close(self, drain_s: float) -> None:
        """Refuse new requests, give running ones `drain_s` seconds, unload every model."""
        self._is_closing = True
        for task in self._reloads:
            task.cancel()
        unloading = [model.unload(drain_s) for model in self._models.values()]
        await asyncio.gather(*unloading, *self._retirements)

    async def wait_for_reloads(self) -> None:
        """Wait for those that `close` has cancelled: what has begun to load cannot be stopped."""
        if self._reloads:
            await asyncio.wait(tuple(self._reloads))

    async def _reload(self, retry_failed: bool) -> bool:
        async with self._loading:
            try:
                config = await asyncio.to_thread(self._source.read)
            except ConfigError as error:
                logger.error("Nothing is reloaded: %s", error)
                raise
            changed = await asyncio.to_thread(self._find_changed, config, retry_failed)
            has_removed = self._set_names(config)
            await self._load(changed)
        outcomes = {config.name: self._models[config.name].load_error for config in changed}
        errors = {name: error for name, error in outcomes.items() if error is not None}
        if errors:
            raise ReloadError(errors)
        return bool(changed or has_removed)

    def _find_changed(self, config: ServerConfig, retry_failed: bool) -> Sequence[ModelConfig]:
        return [c for c in config.models if self._is_changed(c, retry_failed)]

    def _is_changed(self, config: ModelConfig, retry_failed: bool) -> bool:
        model = self._models.get(config.name)
        if model is None or model.config != config or model.state is ModelState.START:
            return True
        has_failed = model.load_error is not None or model.failure is not None
        return (retry_failed and has_failed) or bool(model.files.find_changes())

    def _set_names(self, config: ServerConfig) -> bool:
        """Take over the names and their order; returns whether one of the old ones is gone."""
        old = self._models
        self._models = {c.name: old.get(c.name) or ServedModel(c) for c in config.models}
        gone = old.keys() - self._models.keys()
        for name in gone:
            logger.info("Model %s was removed from the configuration", name)
            self._removed[name] = old[name]
            old[name].retire()
            self._retire_later(old[name].unload(self._drain_timeout_s, "was removed"))
        for name in self._models:
            self._removed.pop(name, None)
        return bool(gone)

    async def _load(self, configs: Sequence[ModelConfig]) -> None:
        for number, config in enumerate(configs, 1):
            model = self._models[config.name]
            logger.info("Loading model %s (%d of %d)", model.name, number, len(configs))
            start = time.monotonic()
            old_graph = await model.load(config, self._cache_dir)
            if old_graph is not None:
                self._retire_later(old_graph.close(self._drain_timeout_s, "was replaced"))
            if model.load_error is None:
                seconds = time.monotonic() - start
                logger.info("Model %s is available after %.1f s", model.name, seconds)

    def _retire_later(self, closing: Coroutine[Any, Any, None]) -> None:
        async def retire() -> None:
            await asyncio.sleep(HAND_OVER_S)
            await closing

        task = asyncio.create_task(retire())
        self._retirements.add(task)
        task.add_done_callback(self._retirements.discard)

    def _note_end(self, reload: "asyncio.Task[bool]") -> None:
        self._reloads.discard(reload)
        if not reload.cancelled():
            # Whoever asked for it may be gone; what went wrong is in the log.
            reload.exception()

    def _why_unknown(self, name: str) -> str:
        # The name is the client's, of any length.
        problem = f"there is no model {name[:100]!r}"
        if name in self._removed:
            return f"{problem} any more; it was removed from the configuration"
        names = ", ".join(self._models) or "none"
        return problem + (did_you_mean(name, self._models) or f"; models: {names}")
