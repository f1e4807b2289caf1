"""GET models and models/{id}."""

from aiohttp import web

from server.api.endpoint import Endpoint, error_answers, json_answer
from server.api.keys import MODEL_MANAGER
from server.api.model_lookup import find_model
from server.api.request_facts import REQUEST_FACTS
from server.models.model_manager import ModelManager, ServedModel
from server.payloads import ModelLimits
from server.protocol.openai.answer_schemas import Model, ModelList, ModelWithVersions

__all__ = ["ENDPOINTS", "versions_of"]


async def _list_models(request: web.Request) -> web.Response:
    """The models that can serve now, and that the client's API key allows."""
    key = request[REQUEST_FACTS].key
    manager = request.app[MODEL_MANAGER]
    listed = {}
    for model in manager.available_models():
        listed[model.name] = _describe(model, model.name)
    for model in manager.available_models():
        for name in model.more_names:
            listed.setdefault(name, _describe(model, name))
    models = [
        model
        for name, model in listed.items()
        if key is None or key.allows_model(name, model.parent or name)
    ]
    answer = ModelList(data=models)
    return web.json_response(text=answer.model_dump_json())


async def _get_model(request: web.Request) -> web.Response:
    """One model; its name may hold slashes."""
    name = request.match_info["id"]
    model = find_model(request, name)
    versions = versions_of(request.app[MODEL_MANAGER], model.name)
    described = _describe(model, name).model_dump()
    return web.json_response({**described, "model_version_status": versions})


def _describe(model: ServedModel, name: str) -> Model:
    """The model under one of its names; one that its graph offers has the model as its parent."""
    limits = model.graph.find_side_packet(ModelLimits)
    max_model_len = None if limits is None else limits.max_model_len
    parent = None if name == model.name else model.name
    root = name if parent is None else model.root_of(name)
    return Model(
        id=name, created=model.created, max_model_len=max_model_len, root=root, parent=parent
    )


def versions_of(manager: ModelManager, name: str) -> list[dict[str, object]]:
    """The state of every version of a model, as TensorFlow Serving tells it."""
    statuses = [model.status() for model in manager.served_versions(name)]
    for status in statuses:
        status.pop("nodes", None)
    return statuses


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
        json_answer("OpenAI's model object", ModelWithVersions) | error_answers(404, 503),
        is_prefixed=True,
    ),
)
