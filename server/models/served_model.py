"""One version of a model: the graph that serves it, and the state that /v1/config shows."""

import logging
import time
from enum import StrEnum
from functools import partial
from typing import Any

from server.errors import ServingError
from server.graph import Graph, ServedNames, Services
from server.graph.opening import in_thread
from server.models.config import ModelConfig
from server.models.model_loading import CheckedModel, check_model
from server.models.watched_files import WatchedFiles

__all__ = ["ModelState", "ServedModel"]

logger = logging.getLogger(__name__)


class ModelState(StrEnum):
    """OVMS's states. A model that failed to load stays in LOADING."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class ServedModel:
    """A version of a configured model. `files` are those that its last load read."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.name = config.name
        self.version = str(config.version)
        self.label = config.label
        self.created = int(time.time())
        self.state = ModelState.START
        self.files = WatchedFiles()
        self.load_error: Exception | None = None
        self._unloaded_because: str | None = None
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The loaded graph; only for models that `ModelManager.get` returned."""
        assert self._graph is not None, f"model {self.name} is not loaded"
        return self._graph

    @property
    def more_names(self) -> tuple[str, ...]:
        """Names beside the configured one that requests may give while the model can serve."""
        if self._graph is None or not self.is_available:
            return ()
        found = self._graph.find_side_packet(ServedNames)
        return () if found is None else found.names

    @property
    def is_classic(self) -> bool:
        """Whether the model has no graph.pbtxt, but a generated graph."""
        return self.config.model_folder is not None

    @property
    def is_available(self) -> bool:
        """Whether the model can serve now."""
        return self.state is ModelState.AVAILABLE and self.failure is None

    @property
    def failure(self) -> str | None:
        """Why the model cannot serve although it should; None if nothing is wrong."""
        if self._graph is not None:
            return self._graph.health()
        return self._load_failure

    @property
    def unready_reason(self) -> str | None:
        """Why the model cannot serve although it was loaded, or was tried to be; else None.

        A failed model that is tried again keeps its reason until it is loaded.
        """
        return self._unloaded_because if self._graph is None else self._graph.health()

    async def check(self, config: ModelConfig) -> CheckedModel | None:
        """Prepare to load what `config` describes; None where it is broken, which is then logged.

        A graph of an earlier load goes on serving, also where this or `load` fails: the failure is
        kept as `load_error` and does not leave.
        """
        self.config = config
        self.load_error = None
        self.files = WatchedFiles()
        if self._graph is None:
            self.state = ModelState.LOADING
        try:
            # In a thread: it imports calculators, and the server has to answer probes meanwhile.
            return await in_thread(partial(check_model, config, self.files))
        except Exception as error:
            self._fail(error)
            return None

    async def load(self, model: CheckedModel, services: Services | None = None) -> Graph | None:
        """Load what `check` has prepared; returns the graph whose place it took, if any."""
        old = self._graph
        try:
            self._graph = await model.load(self.files, services)
        except Exception as error:
            self._fail(error)
            return None
        self.state = ModelState.AVAILABLE
        self._unloaded_because = None
        self.created = int(time.time())
        return old

    def _fail(self, error: Exception) -> None:
        self.load_error = error
        self._unloaded_because = self._load_failure
        logger.error(
            "Model %s failed to load%s: %s",
            self.label,
            "" if self._graph is None else " again; the model loaded before goes on serving",
            self._load_failure,
            exc_info=not isinstance(error, ServingError),
        )
        _forget_frames(error)

    def retire(self) -> None:
        """Mark the model as being unloaded, and forget its load error."""
        self.state = ModelState.UNLOADING
        self.load_error = None

    async def unload(self, drain_s: float, reason: str = "is shutting down") -> None:
        """Give running requests `drain_s` seconds, stop them, and close the graph."""
        self.retire()
        if self._graph is not None:
            await self._graph.close(drain_s, reason)
            self._graph = None
        self.state = ModelState.END

    def status(self) -> dict[str, Any]:
        """OVMS's version status, with the reason of a failure added."""
        failure = self.failure
        code = "OK" if failure is None else "FAILED_PRECONDITION"
        version: dict[str, Any] = {
            "version": self.version,
            "state": str(self.state if failure is None else ModelState.LOADING),
            "status": {"error_code": code, "error_message": code},
        }
        reason = failure
        if reason is None and self._load_failure is not None:
            reason = (
                f"the model loaded before goes on serving; the new one failed: {self._load_failure}"
            )
        if reason is not None:
            version["reason"] = reason
        nodes = {} if self._graph is None else self._graph.status()
        if nodes:
            version["nodes"] = nodes
        return version

    @property
    def _load_failure(self) -> str | None:
        error = self.load_error
        if error is None or isinstance(error, ServingError):
            return None if error is None else str(error)
        return f"{type(error).__name__}: {error}"


def _forget_frames(error: BaseException | None) -> None:
    """Drop tracebacks: their frames would keep alive what was read, a whole model for example."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
