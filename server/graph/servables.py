"""The graphs that a server serves, as the API and nodes of other graphs see them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from server.errors import ModelNotFoundError
from server.graph.contract import Tag
from server.graph.node_run import NO_PARAMETERS

if TYPE_CHECKING:
    from server.graph.graph import Graph

__all__ = ["Servables", "ServedGraph"]

T = TypeVar("T")


class ServedGraph(Protocol):
    """A `Graph`, or one that is loaded when it is used; the members are those of `Graph`.

    `hold` waits until it is loaded, and keeps it so while the block runs. `start_run` does the same
    for one run. Both raise ModelNotReadyError.
    """

    @property
    def name(self) -> str: ...
    @property
    def input(self) -> Tag[Any]: ...
    @property
    def output(self) -> Tag[Any]: ...
    @property
    def input_name(self) -> str: ...
    @property
    def output_name(self) -> str: ...

    def hold(self) -> AbstractAsyncContextManager["Graph"]: ...

    def find_side_packet(self, kind: type[T]) -> T | None: ...

    def find_mismatch(self, input_type: type, output_type: type) -> str | None: ...

    def start_run(
        self, packet: object, parameters: Mapping[str, object] = NO_PARAMETERS
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]: ...


class Servables:
    """A service of the server; where nothing is served beside the graph, it finds nothing."""

    def get(self, name: str, version: str | None) -> ServedGraph:
        """The graph of a model: this version, or the highest one that is ready.

        Raises ModelNotFoundError, ModelNotReadyError. Ask again for each request: a model may be
        replaced at any time.
        """
        raise ModelNotFoundError(f"there is no model {name!r}: this graph is alone")
