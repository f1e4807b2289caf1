"""The access log: one line for each request when it ends, without prompts, queries and keys."""

import asyncio
import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.clients.address import ClientAddresses
from server.api.middleware.auth import HEALTH_PATHS
from server.api.request_facts import REQUEST_FACTS, RequestFacts

__all__ = ["access_log_middleware", "write_line"]

logger = logging.getLogger("server.access")

MAX_CHARACTERS = 200
CLIENT_GONE = 499
# What monitoring asks every few seconds; GET /v2/models/{model}/ready is one of it, too.
POLLED_PATHS = {*HEALTH_PATHS, "/metrics", "/v1/config"}


def access_log_middleware(addresses: ClientAddresses, *, is_on: bool) -> Middleware:
    """Make the outermost middleware, which sees the end of every request, however it ends."""

    @web.middleware
    async def log_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        facts = request[REQUEST_FACTS] = RequestFacts.of(request, addresses)
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except asyncio.CancelledError:
            is_gone = request.transport is None or request.transport.is_closing()
            status, facts.error = CLIENT_GONE, "client_gone" if is_gone else "server_stopped"
            raise
        finally:
            if is_on:
                _write(request, status, facts)

    return log_request


def _write(request: web.Request, status: int, facts: RequestFacts) -> None:
    # Only the path: a query or the user of an absolute URL may be a secret.
    path = _harmless(request.rel_url.raw_path)
    write_line(f"{request.method} {path} {status}", facts, is_polled=_is_polled(request))


def write_line(start: str, facts: RequestFacts, *, is_polled: bool) -> None:
    """Write the line of a request. `start` says what was asked, and how it ended."""
    level = logging.DEBUG if is_polled else logging.INFO
    if logger.isEnabledFor(level):
        members = (
            f" {name}={_harmless(str(value))}" for name, value in facts.log_members().items()
        )
        logger.log(level, "%s%s", start, "".join(members))


def _is_polled(request: web.Request) -> bool:
    if request.method not in {"GET", "HEAD"}:
        return request.method == "OPTIONS"
    return request.path in POLLED_PATHS or request.path.endswith("/ready")


def _harmless(text: str) -> str:
    """A client's text as one word: it cannot begin a line or a member of the log's."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}..."
    return text if text.isprintable() and " " not in text else ascii(text)
