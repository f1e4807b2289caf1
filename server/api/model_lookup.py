"""The model that a request names, and whether its graph serves the endpoint."""

from aiohttp import web

from server.api.keys import MODEL_MANAGER
from server.api.request_facts import REQUEST_FACTS
from server.errors import InvalidRequestError
from server.graph import Graph
from server.models.model_manager import ServedModel

__all__ = ["find_model", "graph_between"]


def find_model(request: web.Request, name: str, version: str | None = None) -> ServedModel:
    """The model, ready to serve. Raises ModelNotFoundError, ModelNotReadyError."""
    request[REQUEST_FACTS].model = name
    return request.app[MODEL_MANAGER].get(name, version)


def graph_between(model: ServedModel, input_type: type, output_type: type) -> Graph:
    """The model's graph, if it turns one type into the other. Raises InvalidRequestError."""
    graph = model.graph
    if (graph.input.type, graph.output.type) == (input_type, output_type):
        return graph
    found = f"{graph.input.type.__name__} to {graph.output.type.__name__}"
    needed = f"{input_type.__name__} to {output_type.__name__}"
    problem = f"model {model.name!r} does not serve this endpoint: its graph goes from {found}"
    hint = "; its folder has no graph.pbtxt" if model.is_classic else ""
    raise InvalidRequestError(f"{problem}, not from {needed}{hint}", "model")
