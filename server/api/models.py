"""GET models and models/{id}."""

from typing import Any

from aiohttp import web

from server.api.keys import MODEL_MANAGER
from server.model_manager import ServedModel

__all__ = ["get_model", "list_models"]


async def list_models(request: web.Request) -> web.Response:
    """The models that can be asked now."""
    models = request.app[MODEL_MANAGER].available_models()
    return web.json_response({"object": "list", "data": [_describe(model) for model in models]})


async def get_model(request: web.Request) -> web.Response:
    """One model; its name may hold slashes."""
    model = request.app[MODEL_MANAGER].get(request.match_info["id"])
    return web.json_response(_describe(model))


def _describe(model: ServedModel) -> dict[str, Any]:
    # Model Server's own owner: its clients tell a local model by it.
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "OVMS"}
