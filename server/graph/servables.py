"""The other graphs of the server, for nodes that send requests to them."""

from typing import TYPE_CHECKING

from server.errors import ModelNotFoundError

if TYPE_CHECKING:
    from server.graph.graph import Graph

__all__ = ["Servables"]


class Servables:
    """A service of the server; where nothing is served beside the graph, it finds nothing."""

    def get(self, name: str, version: str | None) -> "Graph":
        """The graph of a model: this version, or the highest one that is ready.

        Raises ModelNotFoundError, ModelNotReadyError. Ask again for each request: a model may be
        replaced at any time.
        """
        raise ModelNotFoundError(f"there is no model {name!r}: this graph is alone")
