"""The served models by name and version, and how they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import ModelNotFoundError, did_you_mean
from server.host.watch import WATCHDOG
from server.models.config import ModelConfig, ServerConfig
from server.models.served_model import ModelState, ServedModel

__all__ = ["ModelKey", "ServedModels"]

ModelKey = tuple[str, int]
"""Name and version."""


class ServedModels:
    """The models of the configuration, in its order, and those that were removed from it."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, ServedModel] = {}
        self._removed: dict[ModelKey, ServedModel] = {}

    def all_models(self) -> Sequence[ServedModel]:
        """Every version of every configured model, in the order of the configuration.

        Any thread may ask.
        """
        return tuple(self._models.values())

    def served_names(self) -> Sequence[str]:
        """Every configured name."""
        return tuple(dict.fromkeys(name for name, _ in self._models))

    def served_versions(self, name: str) -> Sequence[ServedModel]:
        """Every version of a model that is to be served, in ascending order."""
        models = (model for model in self._models.values() if model.name == name)
        return sorted(models, key=lambda model: model.config.version)

    def available_models(self) -> Sequence[ServedModel]:
        """The models that `get` finds without a version, in the order of the configuration."""
        models = (self._find(name, None) for name in self.served_names())
        return [model for model in models if model.is_available]

    @property
    def num_running(self) -> int:
        """How many requests are in the graphs of these models."""
        loaded = (model for model in self._models.values() if model.is_loaded)
        return sum(model.loaded_graph.num_running for model in loaded)

    def status(self) -> dict[str, Any]:
        """OVMS's /v1/config; removed models stay in it."""
        models = self._removed | self._models
        statuses: dict[str, Any] = {}
        for name, version in sorted(models):
            status = statuses.setdefault(name, {"model_version_status": []})
            status["model_version_status"].append(models[name, version].status())
        return statuses

    def unready_models(self) -> Mapping[str, str]:
        """The names of which no version can serve, though it should, with the reasons.

        A model that was added to a running server counts when its load has failed, not while it is
        loaded for the first time. A model that serves counts no reload that failed.
        """
        reasons = {}
        for name in self.served_names():
            versions = self.served_versions(name)
            found = [reason for v in versions if (reason := v.unready_reason) is not None]
            if found and not any(version.is_available for version in versions):
                reasons[name] = found[-1]
        return reasons

    def give_up_hung_nodes(self, seconds: float) -> None:
        """End requests in which a node hangs; `seconds` have passed since the last call."""
        if limit_s := WATCHDOG.hung_node_after_s:
            for model in self._models.values():
                if model.is_loaded:
                    model.loaded_graph.give_up_hung_runs(seconds, limit_s)

    def _find_changed(self, config: ServerConfig, retry_failed: bool) -> Sequence[ModelConfig]:
        """What is to be loaded of a configuration, or of files that differ from what was."""
        return [c for c in config.models if self._is_changed(c, retry_failed)]

    def _is_changed(self, config: ModelConfig, retry_failed: bool) -> bool:
        model = self._models.get(config.key)
        if model is None or model.config != config or model.state is ModelState.START:
            return True
        has_failed = model.load_error is not None or model.failure is not None
        if model.needs_reload or (retry_failed and has_failed):
            return True
        return bool(model.files.find_changes())

    def _find(self, name: str, version: str | None) -> ServedModel:
        """This version; without one, the highest that can serve, or else the highest."""
        models = self.served_versions(name) or self._models_offering(name)
        if not models:
            raise ModelNotFoundError(self._why_unknown(name))
        if version is None:
            return next((model for model in reversed(models) if model.is_available), models[-1])
        for model in models:
            if model.version == version:
                return model
        versions = ", ".join(model.version for model in models)
        # A client's version may be of any length, too.
        problem = f"model {name!r} has no version {version[:100]!r}; versions: {versions}"
        raise ModelNotFoundError(problem)

    def _models_offering(self, name: str) -> Sequence[ServedModel]:
        """The versions of the first model that has this name besides its own."""
        for model in self._models.values():
            if name in model.more_names:
                return [m for m in self.served_versions(model.name) if name in m.more_names]
        return ()

    def _why_unknown(self, name: str) -> str:
        # A client's name may be of any length.
        problem = f"there is no model {name[:100]!r}"
        if any(name == removed for removed, _ in self._removed):
            return f"{problem} any more; it was removed from the configuration"
        names = [*self.served_names(), *(n for m in self._models.values() for n in m.more_names)]
        return problem + (did_you_mean(name, names) or f"; models: {', '.join(names) or 'none'}")
