"""What probes and operators ask: health, readiness, the state of every model."""

import json

from aiohttp import web

from server.api.endpoint import Answer, Endpoint, error_answers, json_answer
from server.api.keys import MODEL_MANAGER
from server.protocol.kserve.answer_schemas import ServerMetadata
from server.protocol.model_status import ModelStatuses
from server.version import DISTRIBUTION, version

__all__ = ["ENDPOINTS"]


async def _get_config(request: web.Request) -> web.Response:
    """Model Server's /v1/config: every configured model with its state."""
    return _config(request)


async def _reload_config(request: web.Request) -> web.Response:
    """Take over what changed on disk: 201 where anything did, and what failed before tried again.

    The answer comes when all is loaded.
    """
    has_changed = await request.app[MODEL_MANAGER].reload(retry_failed=True)
    return _config(request, 201 if has_changed else 200)


def _config(request: web.Request, status: int = 200) -> web.Response:
    models = request.app[MODEL_MANAGER].status()
    return web.json_response(text=json.dumps(models, indent=1), status=status)


async def _get_live(_: web.Request) -> web.Response:
    """The process answers; that is all."""
    return web.Response()


async def _get_ready(request: web.Request) -> web.Response:
    """The initial load is over and the server is not stopping; models may have failed."""
    return web.Response(status=200 if request.app[MODEL_MANAGER].is_ready else 503)


async def _get_server(_: web.Request) -> web.Response:
    """KServe's server metadata."""
    metadata = ServerMetadata(
        name=DISTRIBUTION, version=version(), extensions=["binary_tensor_data"]
    )
    return web.json_response(text=metadata.model_dump_json())


IS_READY = {
    "200": Answer("All models were tried; the server takes requests"),
    "503": Answer("Models are being loaded, or the server stops"),
}
ENDPOINTS = (
    Endpoint("GET", "/health", _get_ready, "Whether the server is ready", IS_READY),
    Endpoint("GET", "/v2/health/ready", _get_ready, "Whether the server is ready", IS_READY),
    Endpoint(
        "GET",
        "/v2/health/live",
        _get_live,
        "Whether the process answers",
        {"200": Answer("It does")},
    ),
    Endpoint(
        "GET",
        "/v2",
        _get_server,
        "Name and version",
        json_answer("KServe's server metadata", ServerMetadata),
    ),
    Endpoint(
        "GET",
        "/v1/config",
        _get_config,
        "The state of every configured model",
        json_answer("Model Server's status by model", ModelStatuses),
    ),
    Endpoint(
        "POST",
        "/v1/config/reload",
        _reload_config,
        "Take over what changed on disk, and try again what failed",
        {
            **json_answer("There was nothing to do", ModelStatuses),
            "201": Answer("Models were loaded or removed", {"application/json": ModelStatuses}),
            **error_answers(400, 412, 500, 503),
        },
    ),
)
