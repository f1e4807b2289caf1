"""Loads, replaces and removes the served models."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import replace

from server.errors import (
    ConfigError,
    ModelNotReadyError,
    ReloadError,
)
from server.graph import Servables, ServedGraph, Services
from server.models.config import ModelConfig, ServerConfig
from server.models.config_source import ConfigSource
from server.models.loading.loader import ModelLoader
from server.models.loading.model_loading import find_problem
from server.models.loading.retirements import Retirements
from server.models.residency.residency import Residency
from server.models.residency.settings import ResidencySettings
from server.models.served_model import ModelState, ServedModel
from server.models.served_models import ServedModels
from server.models.watched_files import Change

__all__ = ["SHUTTING_DOWN", "ModelManager", "ModelState", "ReloadTurn", "ServedModel"]

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 30.0
SHUTTING_DOWN = "the server is shutting down"
# Each model that hangs keeps its memory, and perhaps a processor, until the process ends.
MAX_HUNG = 3

ReloadTurn = Callable[[], AbstractAsyncContextManager[object]]


class _ServedGraphs(Servables):
    """What nodes see of the manager."""

    def __init__(self, manager: "ModelManager") -> None:
        self._manager = manager

    def get(self, name: str, version: str | None) -> ServedGraph:
        """The graph of a model that is ready."""
        model = self._manager.get(name, version)
        return model.graph_for_nodes or model.graph


class ModelManager(ServedModels):
    """Loads the models of the configuration, replaces and removes them.

    The start and reloads load one after another; the models of each load side by side where
    LoadTurns allows it. Requests of a graph that was replaced or removed have `drain_timeout_s`
    seconds to end. `settings` say which models may be unloaded meanwhile.
    What `reload_turn` makes is entered for each reload: where processes serve the same models, one
    reloads after the other.
    """

    def __init__(
        self,
        config: ServerConfig,
        drain_timeout_s: float = DRAIN_TIMEOUT_S,
        services: Services | None = None,
        settings: ResidencySettings | None = None,
        reload_turn: ReloadTurn = nullcontext,
    ) -> None:
        super().__init__()
        self._source = ConfigSource(config)
        self._drain_timeout_s = drain_timeout_s
        services = services or Services()
        services = replace(services, extras=(*services.extras, _ServedGraphs(self)))
        self._residency: Residency | None = None
        if settings is not None and settings.is_on:
            self._residency = Residency(settings, self.all_models, self._wake)
        self._retirements = Retirements(drain_timeout_s)
        self._loader = ModelLoader(services, drain_timeout_s, self._retirements, self._residency)
        self._models = {c.key: self._new_model(c) for c in self._source.current.models}
        self._loading = asyncio.Lock()
        self._reload_turn = reload_turn
        self._reloads: set[asyncio.Task[bool]] = set()
        self._check: asyncio.Task[Mapping[str, str | None]] | None = None
        self._hung: Counter[str] = Counter()
        self._is_loaded = False
        self._is_closing = False

    @property
    def is_ready(self) -> bool:
        """Whether every model that should serve can."""
        return self._why_no_model_serves() is None and not self.unready_models()

    def why_not_ready(self) -> str | None:
        """A sentence for people; None where the server is ready."""
        if (reason := self._why_no_model_serves()) is not None:
            return reason
        num_unready = len(self.unready_models())
        if not num_unready:
            return None
        return f"{num_unready} of {len(self.served_names())} models cannot serve"

    def _why_no_model_serves(self) -> str | None:
        if self._is_closing:
            return SHUTTING_DOWN
        return None if self._is_loaded else "the models are being loaded"

    @property
    def is_loading(self) -> bool:
        """Whether models are being loaded, at start-up or by a reload."""
        return self._loading.locked()

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """The model of that name, ready to serve: this version, or the highest one that is ready.

        The name may be one that a graph offers, such as an adapter's.
        Raises ModelNotFoundError, ModelNotReadyError.
        """
        model = self._find(name, version)
        if self._is_closing:
            raise ModelNotReadyError(SHUTTING_DOWN)
        failure = model.failure
        if failure is not None and not model.can_wake:
            raise ModelNotReadyError(f"model {name!r} cannot serve: {failure}")
        if model.state is not ModelState.AVAILABLE:
            raise ModelNotReadyError(f"model {name!r} is not loaded yet")
        return model

    @property
    def has_loaded(self) -> bool:
        """Whether the first load is over, however it went."""
        return self._is_loaded

    @property
    def is_closing(self) -> bool:
        """Whether the server is shutting down."""
        return self._is_closing

    def find_changes(self) -> frozenset[Change]:
        """The files of the configuration and of models that differ from what was loaded."""
        models = tuple(self._models.values())
        return self._source.find_changes().union(*(m.files.find_changes() for m in models))

    async def find_problems(self) -> Mapping[str, str | None]:
        """What `server --check` would say now of each model, by its label; None where it is fine.

        One check runs at a time: whoever asks meanwhile gets its findings. Raises ConfigError.
        """
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self._find_problems))
        # A client that leaves must not take the findings from the others.
        return await asyncio.shield(self._check)

    def _find_problems(self) -> Mapping[str, str | None]:
        return {model.label: find_problem(model) for model in self._source.look_ahead().models}

    async def load_all(self) -> None:
        """Load every model for the first time."""
        async with self._loading:
            if self._residency is not None:
                self._residency.start()
            await self._load([model.config for model in self._models.values()])
            self._is_loaded = True

    async def reload(self, *, retry_failed: bool) -> bool:
        """Load what changed in the configuration and in the models' files.

        With `retry_failed`, models that failed are tried again even if they did not change. Returns
        whether any model was loaded or removed. Raises ConfigError, and then nothing was changed,
        or ReloadError if some models cannot be loaded; all others are up to date then.
        """
        if self._is_closing:
            raise ModelNotReadyError(SHUTTING_DOWN)
        # In a task of its own: a client that disconnects must not stop it halfway.
        task = asyncio.create_task(self._reload(retry_failed))
        self._reloads.add(task)
        task.add_done_callback(self._note_end)
        await asyncio.wait([task])
        if task.cancelled():
            raise ModelNotReadyError(SHUTTING_DOWN)
        return task.result()

    async def replace_hung(self) -> None:
        """Load the models again of which a node hangs, beside what hangs.

        Raises ReloadError if one cannot be loaded, or if it hangs for the third time.
        """
        models = self._models.values()
        hung = [model for model in models if model.needs_reload and model.loading is None]
        if not hung or self._is_closing:
            return
        logger.warning("Loading again: %s", ", ".join(model.label for model in hung))
        self._hung.update(model.label for model in hung)
        # The errors of other models are not ours, and those of ours are found below.
        with suppress(ReloadError, ModelNotReadyError):
            await self.reload(retry_failed=False)
        problem = ModelNotReadyError("its inference hangs")
        errors = {
            model.label: model.load_error or problem
            for model in hung
            if (model.needs_reload and model.loading is None) or self._hung[model.label] >= MAX_HUNG
        }
        if errors and not self._is_closing:
            raise ReloadError(errors)

    async def close(self, drain_s: float) -> None:
        """Refuse new requests, give running ones `drain_s` seconds, unload all models."""
        self._is_closing = True
        for task in self._reloads:
            task.cancel()
        if self._residency is not None:
            self._residency.close()
        unloading = [model.unload(drain_s) for model in self._models.values()]
        await asyncio.gather(*unloading, self._retirements.wait())

    async def wait_for_reloads(self) -> None:
        """Wait for cancelled loads: a model that is being loaded cannot be stopped."""
        if self._reloads:
            await asyncio.wait(tuple(self._reloads))
        await self._loader.close()
        if self._residency is not None:
            await self._residency.wait()

    async def _reload(self, retry_failed: bool) -> bool:
        async with self._loading, self._reload_turn():
            try:
                config = await asyncio.to_thread(self._source.read)
            except ConfigError as error:
                logger.error("Nothing is reloaded: %s", error)
                raise
            changed = await asyncio.to_thread(self._find_changed, config, retry_failed)
            unwanted = self._set_names(config)
            await self._load(changed)
            self._remove_superseded(unwanted)
        outcomes = {config.label: self._models[config.key].why_not_loaded for config in changed}
        errors = {name: error for name, error in outcomes.items() if error is not None}
        if errors:
            raise ReloadError(errors)
        return bool(changed or unwanted)

    def _set_names(self, config: ServerConfig) -> Sequence[ServedModel]:
        """Adopt the names and their order; returns the models that are no longer configured.

        They are removed at once, except for versions of a name that stays, which serve until
        another version can.
        """
        old = self._models
        new = {c.key: old.get(c.key) or self._new_model(c) for c in config.models}
        for c in config.models:
            model = new[c.key]
            model.config = replace(model.config, group_name=c.group_name)
        names = {name for name, _ in new}
        unwanted = {key: old[key] for key in old if key not in new}
        self._models = new | unwanted
        for (name, _), model in unwanted.items():
            if name not in names or not model.is_available:
                self._remove(model)
        for key in self._models:
            self._removed.pop(key, None)
        return tuple(unwanted.values())

    def _remove_superseded(self, unwanted: Sequence[ServedModel]) -> None:
        """Remove the versions that another version has replaced."""
        for model in unwanted:
            others = (each for each in self.served_versions(model.name) if each not in unwanted)
            if any(each.is_available for each in others):
                self._remove(model)
            elif model.config.key in self._models:
                logger.warning("Model %s goes on serving: nothing can replace it", model.label)

    def _remove(self, model: ServedModel) -> None:
        if self._models.pop(model.config.key, None) is None:
            return
        logger.info("Model %s was removed", model.label)
        self._removed[model.config.key] = model
        self._loader.give_up(model)
        model.retire()
        closing = model.unload(self._drain_timeout_s, "was removed")
        self._retirements.add(model.config.key, closing)

    def _new_model(self, config: ModelConfig) -> ServedModel:
        model = ServedModel(config)
        if self._residency is not None:
            self._residency.admit(model)
        return model

    async def _load(self, configs: Sequence[ModelConfig]) -> None:
        await self._loader.load([(self._models[config.key], config) for config in configs])

    async def _wake(self, model: ServedModel) -> None:
        await self._loader.wake(model)

    def _note_end(self, reload: "asyncio.Task[bool]") -> None:
        self._reloads.discard(reload)
        if not reload.cancelled():
            # The error is in the log; mark it as retrieved, as nobody may be waiting.
            reload.exception()
