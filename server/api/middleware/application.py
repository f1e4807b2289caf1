"""An aiohttp application with the middleware that every request passes, and no endpoints."""

from collections.abc import Iterator
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Middleware

from server.api.body import BODY_TIMEOUT_S
from server.api.clients.address import ClientAddresses
from server.api.errors import error_middleware
from server.api.middleware.access_log import access_log_middleware
from server.api.middleware.auth import key_middleware
from server.api.middleware.browser_guard import host_middleware, page_middleware
from server.api.middleware.client_limit import client_limit_middleware
from server.api.middleware.cors import cors_signal, preflight_middleware
from server.api.middleware.origins import AllowedOrigins
from server.api.middleware.timeout import timeout_middleware
from server.api.middleware.tracing import tracing_middleware
from server.api.monitoring.http_requests import HttpNumbers
from server.api.paths import ignore_extra_slashes, is_anthropic
from server.api.replicas.front_facts import facts_from_front, front_middleware
from server.api.request_facts import REQUEST_FACTS, REQUEST_ID_HEADER, RequestFacts
from server.api.settings import HttpSettings

__all__ = ["make_application"]


async def _complete_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Name the request, and remove aiohttp's Server header, whose versions help attackers."""
    response.headers.pop("Server", None)
    request_id = request[REQUEST_FACTS].request_id
    response.headers[REQUEST_ID_HEADER] = request_id
    if is_anthropic(request.path):
        response.headers["Request-Id"] = request_id


def make_application(settings: HttpSettings, numbers: HttpNumbers | None = None) -> web.Application:
    """The application of a server, of a replica or of the front of replicas.

    `numbers` count requests.
    """
    origins = AllowedOrigins(settings.cors.origins)
    is_replica = settings.front_secret is not None
    if is_replica:
        middlewares = _of_replica(settings, numbers)
    else:
        middlewares = _of_server(settings, origins, numbers)
    app = web.Application(
        middlewares=tuple(middlewares), client_max_size=settings.max_request_bytes
    )
    app[BODY_TIMEOUT_S] = settings.body_timeout_s
    app.on_response_prepare.append(_complete_headers)
    if not is_replica:
        app.on_response_prepare.append(cors_signal(settings.cors, origins))
    ignore_extra_slashes(app.router)
    return app


def _of_server(
    settings: HttpSettings, origins: AllowedOrigins, numbers: HttpNumbers | None
) -> Iterator[Middleware]:
    """From the outermost to the innermost."""
    addresses = ClientAddresses(settings.trusted_proxies)
    find_facts = partial(RequestFacts.of, addresses=addresses)
    yield access_log_middleware(find_facts, is_on=settings.access_log, numbers=numbers)
    if settings.tracer is not None:
        yield tracing_middleware(settings.tracer)
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


def _of_replica(settings: HttpSettings, numbers: HttpNumbers | None) -> Iterator[Middleware]:
    """Its front has checked all else, and counts the requests of each client."""
    secret = settings.front_secret
    assert secret is not None
    yield access_log_middleware(
        lambda request: facts_from_front(request.headers, secret),
        is_on=settings.access_log,
        numbers=numbers,
    )
    if settings.tracer is not None:
        yield tracing_middleware(settings.tracer)
    if settings.request_timeout_s:
        yield timeout_middleware(settings.request_timeout_s)
    yield error_middleware
    yield front_middleware(secret)
