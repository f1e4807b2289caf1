"""The time limit of a request, from its headers to the end of its answer."""

import asyncio
import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.errors import ApiError, ClientGoneError, error_response
from server.api.sse import EVENT_STREAM, EventStream

__all__ = ["timeout_middleware"]

logger = logging.getLogger(__name__)

# The client that gets the last event may have stopped reading.
LAST_EVENT_TIMEOUT_S = 1.0


def timeout_middleware(timeout_s: float) -> Middleware:
    """Make the middleware that ends requests after `timeout_s` seconds."""

    @web.middleware
    async def limit_time(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await handler(request)
        except TimeoutError:
            if not limit.expired():
                raise
            return await _give_up(request, timeout_s)

    return limit_time


async def _give_up(request: web.Request, timeout_s: float) -> web.StreamResponse:
    if not request.content.is_eof():
        problem = f"the body did not arrive within {timeout_s:g} s"
        return error_response(request, ApiError(408, problem, code="request_timeout"))
    problem = f"the request was not finished within {timeout_s:g} s"
    error = ApiError(503, problem, "service_unavailable", code="request_timeout")
    if not request.writer.output_size:
        return error_response(request, error)
    error.note(request)
    return await _end_stream(request, error)


async def _end_stream(request: web.Request, error: ApiError) -> web.StreamResponse:
    """The status was sent already: send an event, or break the connection."""
    events: EventStream | None = request.get(EVENT_STREAM)
    try:
        if events is not None:
            async with asyncio.timeout(LAST_EVENT_TIMEOUT_S):
                await events.fail(error)
            return events.response
    except (TimeoutError, ClientGoneError):
        logger.debug("%s: the client does not read", request.raw_path)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
