"""Cross-origin requests of browsers (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from server.api.middleware.origins import AllowedOrigins
from server.api.settings import CorsSettings

__all__ = ["cors_signal", "preflight_middleware"]

ANY = ("*",)


def cors_signal(
    settings: CorsSettings, origins: AllowedOrigins
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Make the function that puts the headers on every answer, errors and streams included."""
    # For browsers * does not include this header.
    headers = ("*", "Authorization") if settings.headers == ANY else settings.headers
    always = {
        "Access-Control-Allow-Methods": ", ".join(settings.methods),
        "Access-Control-Allow-Headers": ", ".join(headers),
    }
    if settings.has_credentials:
        always["Access-Control-Allow-Credentials"] = "true"

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(always)
        if origins.has_all:
            response.headers["Access-Control-Allow-Origin"] = "*"
            return
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin", "")
        if origins.allow(origin):
            response.headers["Access-Control-Allow-Origin"] = origin

    return add_headers


@web.middleware
async def preflight_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a browser's preflight request, on any path."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return web.Response(status=204)
    return await handler(request)
