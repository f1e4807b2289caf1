"""The aiohttp application: endpoints and middleware."""

from collections.abc import AsyncIterator, Iterator
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Middleware

from server.api.body import BODY_TIMEOUT_S
from server.api.clients.address import ClientAddresses
from server.api.endpoint import add_routes
from server.api.endpoints import (
    embeddings,
    generation,
    images,
    infer,
    metrics,
    model_metadata,
    models,
    monitoring,
    raw,
    scoring,
    speech,
    status,
    stored_responses,
    tensorflow,
    tokenization,
)
from server.api.endpoints.openapi import openapi_endpoint
from server.api.errors import error_middleware
from server.api.keys import METRICS, MODEL_MANAGER, MONITOR, RELOAD_SECRETS
from server.api.middleware.access_log import access_log_middleware
from server.api.middleware.auth import key_middleware
from server.api.middleware.browser_guard import host_middleware, page_middleware
from server.api.middleware.client_limit import client_limit_middleware
from server.api.middleware.cors import cors_signal, preflight_middleware
from server.api.middleware.origins import AllowedOrigins
from server.api.middleware.timeout import timeout_middleware
from server.api.monitoring.http_requests import HttpNumbers
from server.api.monitoring.metrics_text import metrics_text
from server.api.monitoring.monitor import Monitor
from server.api.monitoring.prepared_text import PreparedText
from server.api.page.files import add_page
from server.api.paths import ignore_extra_slashes, is_anthropic
from server.api.request_facts import REQUEST_FACTS, REQUEST_ID_HEADER
from server.api.settings import HttpSettings
from server.api.unknown_fields import (
    UNKNOWN_FIELD_POLICY,
    UnknownFieldPolicy,
    add_ignored_fields,
)
from server.models.model_manager import ModelManager

__all__ = ["create_app"]

# Raw graphs last: they match every path that is left.
ENDPOINTS = (
    *status.ENDPOINTS,
    *metrics.ENDPOINTS,
    *monitoring.ENDPOINTS,
    *tensorflow.ENDPOINTS,
    *models.ENDPOINTS,
    *generation.ENDPOINTS,
    *stored_responses.ENDPOINTS,
    *scoring.ENDPOINTS,
    *speech.ENDPOINTS,
    *tokenization.ENDPOINTS,
    *images.ENDPOINTS,
    *embeddings.ENDPOINTS,
    *infer.ENDPOINTS,
    *model_metadata.ENDPOINTS,
    *raw.ENDPOINTS,
)


async def _complete_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Name the request, and remove aiohttp's Server header, whose versions help attackers."""
    response.headers.pop("Server", None)
    request_id = request[REQUEST_FACTS].request_id
    response.headers[REQUEST_ID_HEADER] = request_id
    if is_anthropic(request.path):
        response.headers["Request-Id"] = request_id


async def _run_monitor(app: web.Application) -> AsyncIterator[None]:
    app[MONITOR].start()
    yield
    app[MONITOR].stop()


def create_app(manager: ModelManager, settings: HttpSettings | None = None) -> web.Application:
    """The application of one server."""
    settings = settings or HttpSettings()
    origins = AllowedOrigins(settings.cors.origins)
    http_numbers = HttpNumbers()
    app = web.Application(
        middlewares=tuple(_middlewares(settings, origins, http_numbers)),
        client_max_size=settings.max_request_bytes,
    )
    app[MODEL_MANAGER] = manager
    app[MONITOR] = Monitor(manager)
    app[METRICS] = PreparedText(partial(metrics_text, manager, http_numbers), "metrics")
    app.cleanup_ctx.append(_run_monitor)
    app[RELOAD_SECRETS] = settings.reload_secrets or (lambda: None)
    app[BODY_TIMEOUT_S] = settings.body_timeout_s
    app[UNKNOWN_FIELD_POLICY] = UnknownFieldPolicy(refuses=settings.refuses_unknown_fields)
    app.on_response_prepare.append(_complete_headers)
    app.on_response_prepare.append(cors_signal(settings.cors, origins))
    app.on_response_prepare.append(add_ignored_fields)
    ignore_extra_slashes(app.router)
    if settings.has_page:
        add_page(app.router)
    add_routes(app.router, [openapi_endpoint(ENDPOINTS), *ENDPOINTS])
    return app


def _middlewares(
    settings: HttpSettings, origins: AllowedOrigins, numbers: HttpNumbers
) -> Iterator[Middleware]:
    """From the outermost to the innermost."""
    addresses = ClientAddresses(settings.trusted_proxies)
    yield access_log_middleware(addresses, is_on=settings.access_log, numbers=numbers)
    if settings.request_timeout_s:
        yield timeout_middleware(settings.request_timeout_s)
    yield error_middleware
    if settings.allowed_hosts is not None and "*" not in settings.allowed_hosts:
        yield host_middleware(settings.allowed_hosts)
    yield page_middleware(origins)
    yield preflight_middleware
    if settings.keys is not None:
        yield key_middleware(settings.keys, settings.key_scope)
    # After the key, which names the client.
    yield client_limit_middleware(settings.clients)
