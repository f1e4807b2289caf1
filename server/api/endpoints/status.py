"""Health, readiness and the state of every model, for probes and operators."""

import asyncio
import json

from aiohttp import web

from server.api.endpoint import Answer, Endpoint, error_answers, json_answer
from server.api.keys import MODEL_MANAGER, RELOAD_SECRETS
from server.host.version import DISTRIBUTION, version
from server.protocol.kserve.answer_schemas import ServerMetadata
from server.protocol.model_status import Findings, ModelStatuses, NotReady

__all__ = ["ENDPOINTS"]


async def _get_config(request: web.Request) -> web.Response:
    """OVMS's /v1/config: every configured model with its state."""
    return _config(request)


async def _reload_config(request: web.Request) -> web.Response:
    """Load what changed on disk, and what failed before; 201 if a model was loaded or removed.

    The answer is sent when everything is loaded.
    """
    await asyncio.to_thread(request.app[RELOAD_SECRETS])
    has_changed = await request.app[MODEL_MANAGER].reload(retry_failed=True)
    return _config(request, 201 if has_changed else 200)


async def _check_config(request: web.Request) -> web.Response:
    """What `server --check` finds now; nothing is loaded or changed."""
    problems = await request.app[MODEL_MANAGER].find_problems()
    findings = Findings(models=dict(problems))
    return web.json_response(text=findings.model_dump_json())


def _config(request: web.Request, status: int = 200) -> web.Response:
    models = request.app[MODEL_MANAGER].status()
    return web.json_response(text=json.dumps(models, indent=1), status=status)


async def _get_live(_: web.Request) -> web.Response:
    """The process answers."""
    return web.Response()


async def _get_ready(request: web.Request) -> web.Response:
    """200 when every model that should serve can; else which cannot, and why."""
    manager = request.app[MODEL_MANAGER]
    reason = manager.why_not_ready()
    if reason is None:
        return web.Response()
    body = NotReady(error=reason, models=dict(manager.unready_models()))
    return web.json_response(text=body.model_dump_json(), status=503)


async def _get_server(_: web.Request) -> web.Response:
    """KServe's server metadata."""
    metadata = ServerMetadata(
        name=DISTRIBUTION, version=version(), extensions=["binary_tensor_data"]
    )
    return web.json_response(text=metadata.model_dump_json())


IS_READY = {
    "200": Answer("Every model that should serve can"),
    "503": Answer(
        "A model cannot serve, the models are being loaded, or the server is stopping",
        {"application/json": NotReady},
    ),
}
ENDPOINTS = (
    Endpoint("GET", "/health", _get_ready, "Whether the server is ready", IS_READY),
    Endpoint("GET", "/v2/health/ready", _get_ready, "Whether the server is ready", IS_READY),
    Endpoint(
        "GET",
        "/v2/health/live",
        _get_live,
        "Whether the process answers",
        {"200": Answer("The process answers")},
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
        json_answer("OVMS's status of each model", ModelStatuses),
    ),
    Endpoint(
        "POST",
        "/v1/config/reload",
        _reload_config,
        "Load what changed on disk, and try again what failed",
        {
            **json_answer("There was nothing to do", ModelStatuses),
            "201": Answer("Models were loaded or removed", {"application/json": ModelStatuses}),
            **error_answers(400, 412, 500, 503),
        },
        is_admin=True,
    ),
    Endpoint(
        "POST",
        "/v1/config/check",
        _check_config,
        "What `server --check` finds in the configuration and the models on disk",
        json_answer("The problem of each model, or null", Findings)
        | error_answers(400, 412, 500, 503),
        is_admin=True,
    ),
)
