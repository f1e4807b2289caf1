"""Loads models: side by side where all stay loaded, else one by one, within the memory."""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial

from server.errors import ModelLoadError
from server.graph import Services
from server.models.config import ModelConfig
from server.models.loading.load_turns import LoadTurns
from server.models.loading.model_loading import CheckedModel
from server.models.loading.retirements import Retirements
from server.models.residency.residency import Residency
from server.models.served_model import ServedModel

__all__ = ["ModelLoader"]

logger = logging.getLogger(__name__)


class ModelLoader:
    """Without a residency, models stay loaded."""

    def __init__(
        self,
        services: Services,
        drain_timeout_s: float,
        retirements: Retirements,
        residency: Residency | None,
    ) -> None:
        self._services = services
        self._drain_timeout_s = drain_timeout_s
        self._retirements = retirements
        self._residency = residency

    async def load(self, models: Sequence[tuple[ServedModel, ModelConfig]]) -> None:
        """Load what the configurations describe; failures are left in `load_error`."""
        # All checks first: they are quick, and what is broken is known before anything is loaded.
        checked = [(model, await model.check(config)) for model, config in models]
        loads = [
            (model, partial(self._load_one, model, valid, turns, f"{number} of {len(models)}"))
            for turns in [LoadTurns()]
            for number, (model, valid) in enumerate(checked, 1)
            if valid is not None
        ]
        if self._residency is not None:
            # The others have what these leave.
            for model, load in sorted(loads, key=lambda load: not load[0].config.is_permanent):
                try:
                    await self._residency.load(model, load)
                except ModelLoadError as error:
                    model.fail(error)
            return
        async with asyncio.TaskGroup() as group:
            for _, load in loads:
                group.create_task(load())

    async def wake(self, model: ServedModel) -> None:
        """Load a model again, from the files as they are now."""
        checked = await model.check(model.config)
        if checked is not None:
            await self._load_one(model, checked, LoadTurns(), "on demand")

    async def _load_one(
        self, model: ServedModel, checked: CheckedModel, turns: LoadTurns, position: str
    ) -> None:
        try:
            await self._retirements.wait_for(checked.config.key)
        except ModelLoadError as error:
            model.fail(error)
            return
        async with turns.take(checked):
            folder = checked.config.model_folder or checked.config.base_path
            logger.info("Loading model %s (%s) from %s", model.label, position, folder)
            start = time.monotonic()
            old_graph = await model.load(checked, self._services)
        if old_graph is not None:
            closing = old_graph.close(self._drain_timeout_s, "was replaced")
            self._retirements.add(checked.config.key, closing)
        if model.load_error is None:
            seconds = time.monotonic() - start
            logger.info("Model %s is available after %.1f s", model.label, seconds)
