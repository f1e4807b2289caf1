"""The application: its endpoints and what is around them."""

from aiohttp import web

from server.api import (
    generation,
    infer,
    model_metadata,
    models,
    raw,
    status,
    stored_responses,
    tokenization,
)
from server.api.endpoint import add_routes
from server.api.errors import error_middleware
from server.api.keys import MODEL_MANAGER
from server.api.openapi import openapi_endpoint
from server.model_manager import ModelManager

__all__ = ["create_app"]

MAX_BODY_BYTES = 64 * 2**20

# The raw graphs last: they take every path that is nobody's.
ENDPOINTS = (
    *status.ENDPOINTS,
    *models.ENDPOINTS,
    *generation.ENDPOINTS,
    *stored_responses.ENDPOINTS,
    *tokenization.ENDPOINTS,
    *infer.ENDPOINTS,
    *model_metadata.ENDPOINTS,
    *raw.ENDPOINTS,
)


async def _hide_versions(_: web.Request, response: web.StreamResponse) -> None:
    """Take out aiohttp's own header, which tells everybody what can be attacked."""
    response.headers.pop("Server", None)


def create_app(manager: ModelManager) -> web.Application:
    """The application of one server."""
    app = web.Application(middlewares=[error_middleware], client_max_size=MAX_BODY_BYTES)
    app[MODEL_MANAGER] = manager
    app.on_response_prepare.append(_hide_versions)
    add_routes(app.router, [openapi_endpoint(ENDPOINTS), *ENDPOINTS])
    return app
