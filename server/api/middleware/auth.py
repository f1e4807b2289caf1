"""The API key, as OpenAI's clients send it, or Anthropic's.

OpenAI's send `Authorization: Bearer <key>`, Anthropic's `x-api-key: <key>`.
"""

import hmac

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.errors import ApiError, error_response
from server.api.settings import KeyScope

__all__ = ["key_middleware"]

HEALTH_PATHS = ("/health", "/v2/health/live", "/v2/health/ready")


def key_middleware(key: str, scope: KeyScope) -> Middleware:
    """Make the middleware that refuses requests without the key."""
    expected = key.encode()

    @web.middleware
    async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        token = _token(request)
        if not _needs_key(request, scope) or hmac.compare_digest(token, expected):
            return await handler(request)
        problem = "the API key is wrong" if token else "no API key was sent"
        error = ApiError(
            401,
            f"{problem}; it is expected as: Authorization: Bearer <key>, or x-api-key: <key>",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        return error_response(request, error)

    return check_key


def _needs_key(request: web.Request, scope: KeyScope) -> bool:
    # A browser sends OPTIONS, without a key, to ask whether it may send one.
    if request.method == "OPTIONS":
        return False
    if scope is KeyScope.CHANGES:
        return request.method not in {"GET", "HEAD"}
    return scope is KeyScope.ALL or request.path not in HEALTH_PATHS


def _token(request: web.Request) -> bytes:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.headers.get("x-api-key", "")
    # aiohttp decodes header bytes that are not UTF-8 in this way.
    return token.strip().encode(errors="surrogateescape")
