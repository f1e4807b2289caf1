"""The access log: one line for each request when it ends, without prompts, queries and keys."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.middleware.auth import HEALTH_PATHS
from server.api.monitoring.http_requests import HttpNumbers
from server.api.paths import routed_path
from server.api.request_facts import REQUEST_FACTS, RequestFacts
from server.host.current_request import CURRENT_REQUEST

__all__ = ["CLIENT_GONE", "access_log_middleware", "describe_cancellation", "write_line"]

logger = logging.getLogger("server.access")

MAX_CHARACTERS = 200
CLIENT_GONE = 499
# What monitoring asks every few seconds; GET /v2/models/{model}/ready is one of it, too.
POLLED_PATHS = {*HEALTH_PATHS, "/metrics", "/v1/config", "/v1/status"}


def access_log_middleware(
    find_facts: Callable[[web.Request], RequestFacts],
    *,
    is_on: bool,
    numbers: HttpNumbers | None = None,
) -> Middleware:
    """Make the outermost middleware, which sees the end of every request, however it ends.

    `find_facts` tells what is known of a request that has just come. `numbers` count requests.
    """
    numbers = numbers or HttpNumbers()

    @web.middleware
    async def log_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        facts = request[REQUEST_FACTS] = find_facts(request)
        token = CURRENT_REQUEST.set(facts.logged)
        status, response = 500, None
        numbers.num_running += 1
        try:
            response = await handler(request)
            status = response.status
            return response
        except asyncio.CancelledError:
            status, facts.error = CLIENT_GONE, describe_cancellation(request)
            raise
        finally:
            numbers.num_running -= 1
            # A replica counts and logs what it answers.
            if not facts.is_answered_by_replica:
                numbers.note(request, status, monotonic() - facts.start_s)
                if is_on:
                    facts.num_bytes = _num_bytes(request, response)
                    _write(request, status, facts)
            CURRENT_REQUEST.reset(token)

    return log_request


def describe_cancellation(request: web.Request) -> str:
    """Why the handler of a request was cancelled."""
    is_gone = request.transport is None or request.transport.is_closing()
    return "client_gone" if is_gone else "server_stopped"


def _num_bytes(request: web.Request, response: web.StreamResponse | None) -> int:
    """The size of an answer: so far, or of one that is not sent yet."""
    if response is None or response.prepared:
        return request.writer.output_size
    return response.content_length or 0


def _write(request: web.Request, status: int, facts: RequestFacts) -> None:
    # Only the path: a query or the user of an absolute URL may be a secret.
    path = _cut(request.rel_url.raw_path)
    write_line(
        f"{request.method} {_harmless(path)} {status}",
        {"method": request.method, "path": path, "status": status},
        facts,
        is_polled=_is_polled(request),
    )


def write_line(
    start: str, fields: Mapping[str, object], facts: RequestFacts, *, is_polled: bool
) -> None:
    """Write the line of a request.

    `start`, or `fields` where lines are JSON, says what was asked, and how it ended.
    """
    level = logging.DEBUG if is_polled else logging.INFO
    if logger.isEnabledFor(level):
        known = facts.log_members()
        members = (f" {name}={_harmless(_cut(str(value)))}" for name, value in known.items())
        extra = {"fields": {"message": start, **fields, **facts.log_fields(known)}}
        logger.log(level, "%s%s", start, "".join(members), extra=extra)


def _is_polled(request: web.Request) -> bool:
    if request.method not in {"GET", "HEAD"}:
        return request.method == "OPTIONS"
    path = routed_path(request)
    return path in POLLED_PATHS or path.endswith("/ready") or path.startswith("/web/")


def _harmless(text: str) -> str:
    """A client's text as one word: it cannot begin a line or a member of the log's."""
    return text if text.isprintable() and " " not in text else ascii(text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."
