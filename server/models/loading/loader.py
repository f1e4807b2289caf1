"""Loads models: side by side where all stay loaded, else one by one, within the memory."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from server.errors import ModelLoadError
from server.graph import Services
from server.models.config import ModelConfig
from server.models.loading.load import Load, LoadLimits
from server.models.loading.load_turns import LoadTurns
from server.models.loading.model_loading import CheckedModel
from server.models.loading.retirements import Retirements
from server.models.residency.residency import Residency
from server.models.served_model import ServedModel

__all__ = ["ModelLoader"]

logger = logging.getLogger(__name__)

Start = Callable[[CheckedModel], Coroutine[Any, Any, None]]


class ModelLoader:
    """Without a residency, models stay loaded.

    A load that is late, which may mean that it hangs, goes on by itself while others are loaded;
    until it ends, it is the `loading` of its model.
    """

    def __init__(
        self,
        services: Services,
        drain_timeout_s: float,
        retirements: Retirements,
        residency: Residency | None,
    ) -> None:
        self._services = services
        self._timeout_s = services.get(LoadLimits).timeout_s
        self._drain_timeout_s = drain_timeout_s
        self._retirements = retirements
        self._residency = residency
        self._late: set[asyncio.Task[Any]] = set()

    async def load(self, models: Sequence[tuple[ServedModel, ModelConfig]]) -> None:
        """Load what the configurations describe; failures are left in `load_error`."""
        turns = LoadTurns()
        loads = []
        # All checks first: they are quick, and what is broken is known before anything is loaded.
        for number, (model, config) in enumerate(models, 1):
            load = self._begin(model)
            start = partial(self._load_one, load, model, turns, f"{number} of {len(models)}")
            start = partial(self._join, load, model, start)
            checked = await self._check(load, model, config, start)
            if checked is not None:
                loads.append((model, partial(start, checked)))
        if self._residency is not None:
            # The others have what these leave.
            for _, work in sorted(loads, key=lambda load: not load[0].config.is_permanent):
                await work()
            return
        async with asyncio.TaskGroup() as group:
            for _, work in loads:
                group.create_task(work())

    async def wake(self, model: ServedModel) -> None:
        """Load a model again, from the files as they are now, unless it is being loaded."""
        if model.loading is not None and model.loading.is_late:
            return
        load = self._begin(model)
        start = partial(self._load_one, load, model, LoadTurns(), "on demand")
        checked = await self._check(load, model, model.config, start)
        if checked is not None:
            await start(checked)

    def give_up(self, model: ServedModel) -> None:
        """Take no result of a load that has not ended."""
        if model.loading is not None:
            model.loading.give_up()
            model.loading = None

    async def close(self) -> None:
        """Stop what is late, as far as it can be stopped, and wait for it."""
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(tuple(self._late))

    def _begin(self, model: ServedModel) -> Load:
        if model.loading is not None and model.loading.is_late:
            # The files, or the configuration, have changed since it began.
            self.give_up(model)

        def fail(error: ModelLoadError) -> None:
            model.loading = None
            model.fail(error)

        model.loading = Load(model.label, self._timeout_s, fail)
        return model.loading

    async def _check(
        self, load: Load, model: ServedModel, config: ModelConfig, start: Start
    ) -> CheckedModel | None:
        """What to load now, or None. If this is late, `start` is called with it later."""
        if not await load.run(model.check(config)):
            self._keep(asyncio.create_task(self._check_late(load, model, start)))
            return None
        assert load.task is not None
        checked: CheckedModel | None = load.task.result()
        if checked is None:
            _end(load, model)
        return checked

    async def _check_late(self, load: Load, model: ServedModel, start: Start) -> None:
        assert load.task is not None
        checked = await load.task
        if checked is None:
            _end(load, model)
        else:
            await start(checked)

    async def _join(
        self, load: Load, model: ServedModel, start: Start, checked: CheckedModel
    ) -> None:
        """Load a model; where memory is limited, in the order of those that need it."""
        if self._residency is None:
            await start(checked)
            return
        try:
            await self._residency.load(model, partial(start, checked))
        except ModelLoadError as error:
            _fail(load, model, error)

    async def _load_one(
        self, load: Load, model: ServedModel, turns: LoadTurns, position: str, checked: CheckedModel
    ) -> None:
        """Load a model when its turn comes; returns early if it is late."""
        try:
            await self._retirements.wait_for(checked.config.key)
        except ModelLoadError as error:
            _fail(load, model, error)
            return
        async with turns.take(checked):
            if load.is_over:
                return
            folder = checked.config.model_folder or checked.config.base_path
            logger.info("Loading model %s (%s) from %s", model.label, position, folder)
            if not await load.run(self._open(load, model, checked)):
                assert load.task is not None
                self._keep(load.task)

    async def _open(self, load: Load, model: ServedModel, checked: CheckedModel) -> None:
        start = time.monotonic()
        try:
            old_graph = await model.load(checked, self._telling(load, model))
        finally:
            _end(load, model)
        if old_graph is not None:
            closing = old_graph.close(self._drain_timeout_s, "was replaced")
            self._retirements.add(checked.config.key, closing)
        if model.load_error is None:
            seconds = time.monotonic() - start
            logger.info("Model %s is available after %.1f s", model.label, seconds)

    def _telling(self, load: Load, model: ServedModel) -> Services:
        """The services of a load that hears what its nodes do."""
        report = self._services.on_progress

        def note_node(name: str) -> None:
            load.node = load.stage = name

        def note(text: str, fraction: float) -> None:
            load.stage = f"{load.node}: {text.removeprefix(f'{model.label}: ')}"
            if report is not None:
                report(text, fraction)

        return replace(self._services, on_open=note_node, on_progress=note)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """Keep a task that nobody waits for."""
        self._late.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A late load failed unexpectedly", exc_info=error)


def _fail(load: Load, model: ServedModel, error: ModelLoadError) -> None:
    if not load.is_over:
        _end(load, model)
        model.fail(error)


def _end(load: Load, model: ServedModel) -> None:
    # It may have been given up, and another one may have begun.
    if model.loading is load:
        model.loading = None
