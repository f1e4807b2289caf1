"""Loads an engine's model with the stated properties and those that tuning has chosen."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from server.engine.config import EngineConfig, PluginValue
from server.engine.model.kernels import describe_kernels
from server.engine.model.model_loader import LoadedModel, load_model
from server.engine.model.tuning.saved_choices import SavedChoices, TuningRecord
from server.engine.model.tuning.saved_sizes import SavedSizes
from server.engine.model.tuning.tuner import Tuning, tune
from server.errors import ModelLoadError

logger = logging.getLogger(__name__)

NO_TUNING = Tuning(TuningRecord({}))


class TunedModel:
    """Loads a model, as often as an engine needs it; it is tuned once."""

    def __init__(self, config: EngineConfig, max_model_len: int | None) -> None:
        self._config = config
        self._tuning = tune(config, max_model_len) if config.auto_tune else NO_TUNING

    def load(self) -> LoadedModel:
        """Load and compile the model. Raises ModelLoadError."""
        config, tuned = self._config, self._tuning.properties
        if tuned:
            try:
                return self._load({**config.plugin_config, **tuned})
            except ModelLoadError as error:
                logger.warning(
                    "%s: loading it again without the tuned properties: %s",
                    *(config.models_path, str(error)),
                )
        # Not in the except clause: the error holds what was loaded so far.
        model = self._load(config.plugin_config)
        if tuned:
            self._tuning = NO_TUNING
            SavedChoices(config, model.device.name).forget()
        return model

    def fix_branches(self, modules: Iterable[str]) -> None:
        """Let later loads have branches for adapters at these modules."""
        adapters = replace(self._config.adapters, modules=tuple(modules))
        self._config = replace(self._config, adapters=adapters)

    def saved_sizes(self, model: LoadedModel) -> SavedSizes | None:
        """Where the sizes of steps are remembered; None where nothing is."""
        if not self._config.auto_tune:
            return None
        return SavedSizes(self._config, model.device.name, self._tuning.properties)

    def keep_tuning(self) -> None:
        """Save what tuning has chosen for later loads, now that a load with it has succeeded."""
        self._tuning.keep()
        self._tuning = Tuning(self._tuning.record)

    def _load(self, properties: Mapping[str, PluginValue]) -> LoadedModel:
        config = self._config
        return load_model(
            *(config.models_path, config.device, properties),
            *(config.has_head, config.adapters, config.auto_tune),
        )

    def describe(self, model: LoadedModel) -> dict[str, Any]:
        """What operators want to know of a loaded model; it must have run a step."""
        record = self._tuning.record
        return {
            "device": model.device.name,
            "paged": model.not_paged is None,
            **({"not_paged_because": model.not_paged} if model.not_paged else {}),
            "plugin_config": dict(self._config.plugin_config),
            "auto_tuned": self._tuning.properties,
            **({"tuning": record.describe()} if record.candidates else {}),
            "kernels": describe_kernels(
                [part for part in (model.layers, model.head) if part is not None]
            ),
        }
