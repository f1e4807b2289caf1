"""Whether the graph of a model is one for an endpoint."""

from server.errors import InvalidRequestError
from server.graph import Graph
from server.models.model_manager import ServedModel

__all__ = ["graph_between"]


def graph_between(model: ServedModel, input_type: type, output_type: type) -> Graph:
    """The graph of a model, which goes from one type to the other. Raises InvalidRequestError."""
    graph = model.graph
    if (graph.input.type, graph.output.type) == (input_type, output_type):
        return graph
    found = f"{graph.input.type.__name__} to {graph.output.type.__name__}"
    needed = f"{input_type.__name__} to {output_type.__name__}"
    problem = f"model {model.name!r} does not serve this endpoint: its graph goes from {found}"
    hint = "; its folder has no graph.pbtxt" if model.is_classic else ""
    raise InvalidRequestError(f"{problem}, not from {needed}{hint}", "model")
