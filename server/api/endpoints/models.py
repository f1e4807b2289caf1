"""GET models and models/{id}."""

from aiohttp import web

from server.api.endpoint import Endpoint, error_answers, json_answer
from server.api.keys import MODEL_MANAGER
from server.api.missing_endpoints import describe_missing
from server.api.model_lookup import find_model
from server.errors import ModelNotFoundError
from server.models.model_manager import ServedModel
from server.payloads import ModelLimits
from server.protocol.openai.answer_schemas import Model, ModelList

__all__ = ["ENDPOINTS"]


async def _list_models(request: web.Request) -> web.Response:
    """The models that can serve now."""
    models = request.app[MODEL_MANAGER].available_models()
    listed = ModelList(data=[_describe(model) for model in models])
    return web.json_response(text=listed.model_dump_json())


async def _get_model(request: web.Request) -> web.Response:
    """One model; its name may hold slashes."""
    try:
        model = find_model(request, request.match_info["id"])
    except ModelNotFoundError as error:
        if describe_missing(request.path) is None:
            raise
        raise web.HTTPNotFound from error
    return web.json_response(text=_describe(model).model_dump_json())


def _describe(model: ServedModel) -> Model:
    limits = model.graph.find_side_packet(ModelLimits)
    max_model_len = None if limits is None else limits.max_model_len
    return Model(id=model.name, created=model.created, max_model_len=max_model_len)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/models",
        _list_models,
        "The models that can serve now",
        json_answer("OpenAI's list", ModelList),
        is_prefixed=True,
    ),
    Endpoint(
        "GET",
        "/models/{id:.+}",
        _get_model,
        "One model",
        json_answer("OpenAI's model object", Model) | error_answers(404, 503),
        is_prefixed=True,
    ),
)
