"""Refuses requests of a client that has too many at work."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.clients.client_limits import ClientLimits
from server.api.request_facts import REQUEST_FACTS

__all__ = ["client_limit_middleware"]


def client_limit_middleware(limits: ClientLimits) -> Middleware:
    """Make the middleware that counts what changes or generates something: POST requests."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "POST":
            return await handler(request)
        facts = request[REQUEST_FACTS]
        with limits.hold(facts.client) as facts.slot:
            return await handler(request)

    return count
