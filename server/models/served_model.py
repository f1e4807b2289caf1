"""One version of a model: the graph that serves it, and the state that /v1/config shows."""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from server.errors import ModelNotReadyError, ServingError
from server.graph import Graph, ServedGraph, ServedNames, Services
from server.graph.definition import define_graph
from server.graph.description import GraphDescription
from server.graph.nodes.opening import in_thread
from server.graph.numbers import GraphNumbers
from server.models.config import ModelConfig
from server.models.loading.load import Load
from server.models.loading.model_loading import CheckedModel, check_model
from server.models.watched_files import WatchedFiles

if TYPE_CHECKING:
    from server.models.residency.resident_graph import ResidentGraph

__all__ = ["ModelState", "ServedModel"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class ModelState(StrEnum):
    """OVMS's states. A model that failed to load stays in LOADING."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class ServedModel:
    """A version of a configured model. `files` are those that its last load read.

    Where models may be unloaded while they are available, requests and nodes of other graphs reach
    it through the two ResidentGraphs. `description` is what stays known then. `definition` is the
    graph as it was read last (see `define_graph`), and `numbers` count for all loads of the model.
    `file_bytes` and `memory_bytes` are the sizes of its files, and of what it took when it was
    loaded last.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.name = config.name
        self.version = str(config.version)
        self.label = config.label
        self.created = int(time.time())
        self.state = ModelState.START
        self.files = WatchedFiles()
        self.load_error: Exception | None = None
        self.loading: Load | None = None
        self._failed_because: str | None = None
        self.resident_graph: ResidentGraph | None = None
        self.graph_for_nodes: ResidentGraph | None = None
        self.description: GraphDescription | None = None
        self.definition: Mapping[str, Any] | None = None
        self.numbers = GraphNumbers()
        self.file_bytes = 0
        self.memory_bytes: int | None = None
        self._graph: Graph | None = None
        self._rested: tuple[str, str] | None = None

    @property
    def graph(self) -> ServedGraph:
        """The graph for requests; only for models that `ModelManager.get` returned."""
        return self.loaded_graph if self.resident_graph is None else self.resident_graph

    @property
    def loaded_graph(self) -> Graph:
        """The graph in memory. Raises ModelNotReadyError for a model that was just removed."""
        if self._graph is None:
            raise ModelNotReadyError(f"model {self.name!r} is not loaded any more")
        return self._graph

    @property
    def is_loaded(self) -> bool:
        """Whether the graph is in memory."""
        return self._graph is not None

    @property
    def num_running(self) -> int:
        """The requests that are in its graph now."""
        graph = self._graph
        return 0 if graph is None else graph.num_running

    def count_waiting_packets(self) -> Mapping[str, int]:
        """The packets that wait for their readers now, by stream. Any thread may ask."""
        graph = self._graph
        return {} if graph is None else graph.count_waiting_packets()

    @property
    def can_wake(self) -> bool:
        """Whether it was unloaded, or failed to load again, and a request may load it."""
        was_available = self.state is ModelState.AVAILABLE and self.description is not None
        return self.resident_graph is not None and was_available and not self.is_loaded

    def find_side_packet(self, kind: type[T]) -> T | None:
        """The first side packet of that type; of an unloaded model, one that describes it."""
        source = self._graph or self.description
        return None if source is None else source.find_side_packet(kind)

    @property
    def more_names(self) -> tuple[str, ...]:
        """Names beside the configured one that requests may give while the model can serve."""
        found = self.find_side_packet(ServedNames) if self.is_available else None
        return () if found is None else found.names

    def root_of(self, name: str) -> str | None:
        """The file behind one of `more_names`, where it is known."""
        found = self.find_side_packet(ServedNames)
        return None if found is None else found.root_of(name)

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
        earlier = self._failed_because if self.can_wake else None
        return self._late_load or self._load_failure or earlier

    @property
    def why_not_loaded(self) -> Exception | None:
        """The error of the last load, or that it has not ended; None where it went well."""
        late = self._late_load
        return self.load_error if late is None else ModelNotReadyError(late)

    @property
    def needs_reload(self) -> bool:
        """Whether a node hangs, so that only another graph can serve."""
        return self._graph is not None and self._graph.needs_reload()

    @property
    def unready_reason(self) -> str | None:
        """Why the model cannot serve although it was loaded, or was tried to be; else None.

        A failed model that is tried again keeps its reason until it is loaded.
        """
        if self._graph is not None:
            return self._graph.health()
        return self._late_load or self._failed_because

    async def check(self, config: ModelConfig) -> CheckedModel | None:
        """Prepare to load what `config` describes; None where it is broken, which is then logged.

        A graph of an earlier load goes on serving, also where this or `load` fails: the failure is
        kept as `load_error` and does not leave.
        """
        self.config = config
        self.load_error = None
        self.files = WatchedFiles()
        if self._graph is None and not self.can_wake:
            self.state = ModelState.LOADING
        try:
            # In a thread: it imports calculators, and the server has to answer probes meanwhile.
            checked = await in_thread(partial(check_model, config, self.files))
        except Exception as error:
            self.fail(error)
            return None
        self.file_bytes = checked.num_bytes
        self.definition = define_graph(checked.graph)
        return checked

    async def load(self, model: CheckedModel, services: Services | None = None) -> Graph | None:
        """Load what `check` has prepared; returns the graph whose place it took, if any."""
        old, is_known = self._graph, self.can_wake
        try:
            self._graph = await model.load(self.files, services, self.numbers)
        except Exception as error:
            self.fail(error)
            return None
        self.description = self._graph.describe()
        self._rested = None
        self.state = ModelState.AVAILABLE
        self._failed_because = None
        if not is_known:
            self.created = int(time.time())
        return old

    def fail(self, error: Exception) -> None:
        """Note that the model cannot be loaded, and log it."""
        self.load_error = error
        self._failed_because = self._load_failure
        logger.error(
            "Model %s failed to load%s: %s",
            self.label,
            "" if self._graph is None else " again; the model loaded before goes on serving",
            self._load_failure,
            exc_info=not isinstance(error, ServingError),
        )
        _forget_frames(error)

    def rest(self, reason: str) -> Graph:
        """Leave the graph, which the caller closes; the model stays available."""
        graph, self._graph = self.loaded_graph, None
        # Side packets may have changed since it was loaded.
        self.description = graph.describe()
        self._rested = (reason, datetime.now(UTC).isoformat(timespec="seconds"))
        return graph

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
        if reason is None and self._late_load is not None:
            reason = f"the model loaded before goes on serving; the new one is {self._late_load}"
        elif reason is None and self._load_failure is not None:
            reason = (
                f"the model loaded before goes on serving; the new one failed: {self._load_failure}"
            )
        if reason is not None:
            version["reason"] = reason
        if self.resident_graph is not None:
            version |= self._residence()
        nodes = {} if self._graph is None else self._graph.status()
        if nodes:
            version["nodes"] = nodes
        return version

    def _residence(self) -> dict[str, Any]:
        """Whether it is in memory, and if not, why not."""
        residence: dict[str, Any] = {"loaded": self.is_loaded}
        if self.config.group_name:
            residence["group_name"] = self.config.group_name
        if self.memory_bytes is not None:
            residence["memory_bytes"] = self.memory_bytes
        if self._rested is not None:
            reason, at = self._rested
            residence["unloaded"] = {"reason": reason, "at": at}
        return residence

    @property
    def _late_load(self) -> str | None:
        """That a load takes so long that it may hang."""
        return str(self.loading) if self.loading is not None and self.loading.is_late else None

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
