"""What probes and operators ask: health, readiness, the state of every model."""

import json

from aiohttp import web

from server.api.keys import MODEL_MANAGER
from server.version import DISTRIBUTION, version

__all__ = ["get_config", "get_live", "get_ready", "get_server"]


async def get_config(request: web.Request) -> web.Response:
    """Model Server's /v1/config: every configured model with its state."""
    status = request.app[MODEL_MANAGER].status()
    return web.json_response(text=json.dumps(status, indent=1))


async def get_live(_: web.Request) -> web.Response:
    """The process answers; that is all."""
    return web.Response()


async def get_ready(request: web.Request) -> web.Response:
    """The initial load is over and the server is not stopping; models may have failed."""
    return web.Response(status=200 if request.app[MODEL_MANAGER].is_ready else 503)


async def get_server(_: web.Request) -> web.Response:
    """KServe's server metadata."""
    return web.json_response({"name": DISTRIBUTION, "version": version(), "extensions": []})
