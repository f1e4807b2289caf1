"""A model as it is loaded for an engine: with the properties given, and those that were tuned."""

import logging
from typing import Any

from server.engine.config import EngineConfig
from server.engine.model.kernels import describe_kernels
from server.engine.model.model_loader import LoadedModel, load_model
from server.engine.model.tuning import Tuning, tune
from server.errors import ModelLoadError

logger = logging.getLogger(__name__)


class TunedModel:
    """Loads a model, as often as an engine needs it; the properties are chosen once."""

    def __init__(self, config: EngineConfig, max_model_len: int | None) -> None:
        self._config = config
        self._tuning = Tuning({}, is_remembered=False)
        if config.auto_tune:
            self._tuning = tune(config, max_model_len)

    def load(self) -> LoadedModel:
        """Load and compile the model. Raises ModelLoadError."""
        config = self._config
        properties = {**config.plugin_config, **self._tuning.properties}
        try:
            return load_model(config.models_path, config.device, properties)
        except ModelLoadError as error:
            if not self._tuning.properties:
                raise
            logger.warning("%s: without what was tuned before: %s", config.models_path, error)
            self._tuning = Tuning({}, is_remembered=False)
            return load_model(config.models_path, config.device, config.plugin_config)

    def describe(self, model: LoadedModel) -> dict[str, Any]:
        """What operators want to know of a loaded model that has run a step of some size."""
        return {
            "device": model.device.name,
            "plugin_config": dict(self._config.plugin_config),
            "auto_tuned": self._tuning.properties,
            "kernels": describe_kernels([model.layers, model.head]),
        }
