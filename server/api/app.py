"""The routes."""

from functools import partial

from aiohttp import web

from server.api.body import meet_expectation
from server.api.errors import error_middleware
from server.api.generation import generation_handler
from server.api.keys import MODEL_MANAGER
from server.api.models import get_model, list_models
from server.api.protocol.chat_completions import parse_chat_completion
from server.api.protocol.completions import parse_completion
from server.api.raw import handle_raw
from server.api.status import get_config, get_live, get_ready, get_server
from server.model_manager import ModelManager

__all__ = ["create_app"]

MAX_BODY_BYTES = 64 * 2**20
# Model Server answers under all three; the last is its oldest spelling.
PREFIXES = ("/v3/v1", "/v3", "/v1")
# Paths that belong to other methods: a POST there is a wrong method, not a graph's endpoint.
NOT_RAW = r"(?:v1/)?(?:models|config)(?:/|$)"


async def _hide_versions(_: web.Request, response: web.StreamResponse) -> None:
    """Take out aiohttp's own header, which tells everybody what can be attacked."""
    response.headers.pop("Server", None)


def create_app(manager: ModelManager) -> web.Application:
    """The application of one server."""
    app = web.Application(middlewares=[error_middleware], client_max_size=MAX_BODY_BYTES)
    app[MODEL_MANAGER] = manager
    app.on_response_prepare.append(_hide_versions)
    add_get = partial(app.router.add_get, expect_handler=meet_expectation)
    add_get("/health", get_ready)
    add_get("/v2", get_server)
    add_get("/v2/health/live", get_live)
    add_get("/v2/health/ready", get_ready)
    add_get("/v1/config", get_config)
    for prefix in PREFIXES:
        _add_openai_routes(app.router, prefix)
    return app


def _add_openai_routes(router: web.UrlDispatcher, prefix: str) -> None:
    add_get = partial(router.add_get, expect_handler=meet_expectation)
    add_post = partial(router.add_post, expect_handler=meet_expectation)
    add_post(f"{prefix}/chat/completions", generation_handler(parse_chat_completion))
    add_post(f"{prefix}/completions", generation_handler(parse_completion))
    add_get(f"{prefix}/models", list_models)
    add_get(f"{prefix}/models/{{id:.+}}", get_model)
    add_post(f"{prefix}/{{endpoint:(?!{NOT_RAW}).+}}", handle_raw)
