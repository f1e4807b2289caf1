"""Name -> loaded model, and the states that /v1/config shows."""

import asyncio
import logging
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from server.config import ModelConfig, ServerConfig
from server.errors import (
    ModelNotFoundError,
    ModelNotReadyError,
    ServingError,
    did_you_mean,
)
from server.graph import Graph, load_graph_config

__all__ = ["ModelManager", "ModelState", "ServedModel"]

logger = logging.getLogger(__name__)


class ModelState(StrEnum):
    """OpenVINO Model Server's states. A model that failed to load stays in LOADING."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class ServedModel:
    """One configured model and the graph that serves it."""

    def __init__(self, config: ModelConfig) -> None:
        self.name = config.name
        self.created = int(time.time())
        self.state = ModelState.START
        self._config = config
        self._graph: Graph | None = None
        self._failure: str | None = None

    @property
    def graph(self) -> Graph:
        """The loaded graph; only of a model that `ModelManager.get` gave out."""
        assert self._graph is not None, f"model {self.name} is not loaded"
        return self._graph

    @property
    def failure(self) -> str | None:
        """Why the model cannot serve although it should; None where nothing is wrong."""
        if self._failure is None and self._graph is not None:
            return self._graph.health()
        return self._failure

    async def load(self) -> None:
        """Load the graph; a failure is kept as the model's reason and does not leave."""
        self.state = ModelState.LOADING
        try:
            self._graph = await self._load_graph()
        except ServingError as error:
            self._failure = str(error)
            logger.error("Model %s failed to load: %s", self.name, error)
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            logger.exception("Model %s failed to load", self.name)
        else:
            self.state = ModelState.AVAILABLE
            self.created = int(time.time())

    async def _load_graph(self) -> Graph:
        path = self._config.require_graph()
        # Calculators are imported here: seconds in which the server has to answer probes.
        graph_config = await asyncio.to_thread(load_graph_config, path)
        return await Graph.load(graph_config, path.parent, self.name)

    async def unload(self, drain_s: float) -> None:
        """Give running requests `drain_s` seconds, stop them, release what the graph holds."""
        self.state = ModelState.UNLOADING
        if self._graph is not None:
            await self._graph.close(drain_s)
            self._graph = None
        self.state = ModelState.END

    def status(self) -> dict[str, Any]:
        """Model Server's version status, with the reason of a failure added."""
        failure = self.failure
        code = "OK" if failure is None else "FAILED_PRECONDITION"
        version: dict[str, Any] = {
            "version": "1",
            "state": str(self.state if failure is None else ModelState.LOADING),
            "status": {"error_code": code, "error_message": code},
        }
        if failure is not None:
            version["reason"] = failure
        return {"model_version_status": [version]}


class ModelManager:
    """Every model of the configuration, by name."""

    def __init__(self, config: ServerConfig) -> None:
        self._models = {model.name: ServedModel(model) for model in config.models}
        self._is_loaded = False
        self._is_closing = False

    @property
    def is_ready(self) -> bool:
        """Whether the initial load has finished, with or without failures, and no end is near."""
        return self._is_loaded and not self._is_closing

    def get(self, name: str) -> ServedModel:
        """The model of that name, able to serve. Raises ModelNotFoundError, ModelNotReadyError."""
        model = self._models.get(name)
        if model is None:
            hint = did_you_mean(name, self._models) or f"; models: {self._names_or_none()}"
            # The name is the client's, of any length.
            raise ModelNotFoundError(f"there is no model {name[:100]!r}{hint}")
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
        """Model Server's /v1/config."""
        return {name: self._models[name].status() for name in sorted(self._models)}

    async def load_all(self) -> None:
        """Load one model after another; each gets the whole machine for it."""
        for number, model in enumerate(self._models.values(), 1):
            logger.info("Loading model %s (%d of %d)", model.name, number, len(self._models))
            start = time.monotonic()
            await model.load()
            if model.state is ModelState.AVAILABLE:
                seconds = time.monotonic() - start
                logger.info("Model %s is available after %.1f s", model.name, seconds)
        self._is_loaded = True

    async def close(self, drain_s: float) -> None:
        """Refuse new requests, give running ones `drain_s` seconds, unload every model."""
        self._is_closing = True
        await asyncio.gather(*(model.unload(drain_s) for model in self._models.values()))

    def _names_or_none(self) -> str:
        return ", ".join(self._models) or "none"
