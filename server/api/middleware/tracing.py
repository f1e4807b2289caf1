"""The span of each HTTP request that may run a model."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.middleware.access_log import CLIENT_GONE, describe_cancellation
from server.api.middleware.auth import READING
from server.api.request_facts import REQUEST_FACTS
from server.api.sse import EVENT_STREAM
from server.api.tracing.operations import operation_of

if TYPE_CHECKING:
    from server.api.tracing.attributes import Attributes
    from server.api.tracing.request_trace import RequestTracer

__all__ = ["tracing_middleware"]


def tracing_middleware(tracer: "RequestTracer") -> Middleware:
    """Make the middleware. It comes after the access log, which makes the facts of a request."""

    @web.middleware
    async def trace_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        # Probes, metrics and lists get no span.
        if request.method in READING:
            return await handler(request)
        facts = request[REQUEST_FACTS]
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        operation = operation_of(route)
        attributes: Attributes = {
            "http.request.method": request.method,
            "url.path": request.rel_url.raw_path,
            "http.route": route,
            "gen_ai.request.id": facts.request_id,
            **_server_of(request.host),
        }
        if operation is not None:
            attributes |= {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "openvino",
            }

        def values(name: str) -> Sequence[str]:
            return request.headers.getall(name, ())

        name = operation or f"{request.method} {route}".rstrip()
        with tracer.request(name, values, facts, attributes) as trace:
            try:
                response = await handler(request)
                trace.status = response.status
                return response
            except asyncio.CancelledError:
                trace.status, facts.error = CLIENT_GONE, describe_cancellation(request)
                raise
            finally:
                trace.is_stream = EVENT_STREAM in request

    return trace_request


def _server_of(host: str) -> "Attributes":
    """The server as the client named it."""
    address, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit():
        return {"server.address": address, "server.port": int(port)}
    return {"server.address": host}
