"""The model that a request names, and whether its graph serves the endpoint."""

from aiohttp import web

from server.api.clients.api_keys import check_model
from server.api.keys import MODEL_MANAGER
from server.api.request_facts import REQUEST_FACTS
from server.errors import WrongGraphError
from server.graph import ServedGraph
from server.models.model_manager import ServedModel

__all__ = ["find_model", "graph_between"]


def find_model(request: web.Request, name: str, version: str | None = None) -> ServedModel:
    """The model, ready to serve.

    Raises ModelNotFoundError, ModelNotReadyError, NotAllowedError.
    """
    facts = request[REQUEST_FACTS]
    facts.logged.model = name
    model = request.app[MODEL_MANAGER].get(name, version)
    check_model(facts.key, name, model.name)
    facts.adapter = "" if name == model.name else name
    return model


def graph_between(model: ServedModel, input_type: type, output_type: type) -> ServedGraph:
    """The model's graph, if it turns one type into the other. Raises WrongGraphError."""
    mismatch = model.graph.find_mismatch(input_type, output_type)
    if mismatch is None:
        return model.graph
    hint = "; its folder has no graph.pbtxt" if model.is_classic else ""
    raise WrongGraphError(
        f"model {model.name!r} does not serve this endpoint: its graph {mismatch}{hint}", "model"
    )
