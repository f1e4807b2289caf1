"""A model's graph as requests see it: it is there even while the model is unloaded."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from server.graph import Graph
from server.graph.contract import Tag
from server.graph.description import GraphDescription, find_mismatch
from server.graph.node_run import NO_PARAMETERS

if TYPE_CHECKING:
    from server.models.residency.residency import Residency
    from server.models.served_model import ServedModel

__all__ = ["ResidentGraph"]

T = TypeVar("T")


class ResidentGraph:
    """A ServedGraph. A run waits until the model is loaded, and keeps it loaded until its end.

    One `from_node` is asked by a node of another graph during a request.
    """

    def __init__(
        self, model: "ServedModel", residency: "Residency", *, from_node: bool = False
    ) -> None:
        self._model = model
        self._residency = residency
        self._from_node = from_node

    @property
    def _description(self) -> GraphDescription:
        description = self._model.description
        assert description is not None, f"model {self._model.name} was never loaded"
        return description

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._model.name

    @property
    def input(self) -> Tag[Any]:
        """The border at its input."""
        return self._description.input

    @property
    def output(self) -> Tag[Any]:
        """The border at its output."""
        return self._description.output

    @property
    def input_name(self) -> str:
        """The name of the stream at its input."""
        return self._description.input_name

    @property
    def output_name(self) -> str:
        """The name of the stream at its output."""
        return self._description.output_name

    def find_side_packet(self, kind: type[T]) -> T | None:
        """The first side packet of that type; of an unloaded model, one that describes it."""
        return self._model.find_side_packet(kind)

    def find_mismatch(self, input_type: type, output_type: type) -> str | None:
        """Say that the graph does not turn one type into the other; None where it does."""
        return find_mismatch((self.input, self.output), input_type, output_type)

    def start_run(
        self, packet: object, parameters: Mapping[str, object] = NO_PARAMETERS
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """As `Graph.start_run`; entering it loads the model and raises what `hold` raises."""
        return _ResidentRun(self, packet, parameters)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Graph]:
        """The loaded graph, which stays loaded while the block runs.

        Raises ModelNotReadyError if the model cannot be loaded, or not in time.
        """
        group = await self._residency.enter(self._model, from_node=self._from_node)
        try:
            yield self._model.loaded_graph
        finally:
            self._residency.leave(group)


class _ResidentRun(AbstractAsyncContextManager[AsyncIterator[Any]]):
    def __init__(
        self, graph: ResidentGraph, packet: object, parameters: Mapping[str, object]
    ) -> None:
        self._graph = graph
        self._packet = packet
        self._parameters = parameters
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            graph = await stack.enter_async_context(self._graph.hold())
            run = await stack.enter_async_context(graph.start_run(self._packet, self._parameters))
            self._stack = stack.pop_all()
        return run

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._stack.__aexit__(*error)
