"""The API key, as OpenAI's clients send it, or Anthropic's.

OpenAI's send `Authorization: Bearer <key>`, Anthropic's `x-api-key: <key>`.
"""

import hmac
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.errors import ApiError, error_response
from server.api.settings import KeyScope

__all__ = ["find_key_problem", "key_middleware"]

HEALTH_PATHS = ("/health", "/v2/health/live", "/v2/health/ready")


def key_middleware(key: str, scope: KeyScope) -> Middleware:
    """Make the middleware that refuses requests without the key."""

    @web.middleware
    async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        problem = find_key_problem(request.headers, key) if _needs_key(request, scope) else None
        if problem is None:
            return await handler(request)
        headers = {"WWW-Authenticate": "Bearer"}
        error = ApiError(401, problem, code="invalid_api_key", headers=headers)
        return error_response(request, error)

    return check_key


def _needs_key(request: web.Request, scope: KeyScope) -> bool:
    # A browser sends OPTIONS, without a key, to ask whether it may send one.
    if request.method == "OPTIONS":
        return False
    if scope is KeyScope.CHANGES:
        return request.method not in {"GET", "HEAD"}
    return scope is KeyScope.ALL or request.path not in HEALTH_PATHS


def find_key_problem(headers: Mapping[str, str], key: str) -> str | None:
    """Say that the headers do not have the key; None where they do.

    `headers` must ignore case, or have names in lower case.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = headers.get("x-api-key", "")
    # aiohttp decodes header bytes that are not UTF-8 in this way.
    if hmac.compare_digest(token.strip().encode(errors="surrogateescape"), key.encode()):
        return None
    problem = "the API key is wrong" if token else "no API key was sent"
    return f"{problem}; it is expected as: Authorization: Bearer <key>, or x-api-key: <key>"
