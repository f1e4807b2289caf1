"""Which requests need an API key, and what each key allows."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.clients.api_keys import KeyRing, Scope, check_scope, find_token
from server.api.errors import ApiError, error_response
from server.api.paths import is_page, routed_path
from server.api.request_facts import REQUEST_FACTS
from server.api.settings import KeyScope

__all__ = ["describe_key_problem", "key_middleware"]

HEALTH_PATHS = ("/health", "/v2/health/live", "/v2/health/ready")
# It tells how the models are configured.
PRIVATE_PATHS = ("/v1/status",)
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def key_middleware(keys: KeyRing, scope: KeyScope) -> Middleware:
    """Make the middleware that refuses requests without a key that allows them."""

    @web.middleware
    async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        facts = request[REQUEST_FACTS]
        token = find_token(request.headers)
        key = keys.find(token) if token else None
        if key is None:
            if not _needs_key(request, scope):
                return await handler(request)
            if token:
                keys.wrong_keys.note(facts.client)
            return error_response(request, _missing_key(token))
        facts.identify(key, keys.cache_salt_of(key))
        if request.method in READING:
            return await handler(request)
        check_scope(key, Scope.USE)
        keys.count_request(key)
        return await handler(request)

    return check_key


def _missing_key(token: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"}
    return ApiError(401, describe_key_problem(token), code="invalid_api_key", headers=headers)


def _needs_key(request: web.Request, scope: KeyScope) -> bool:
    # A browser sends OPTIONS, without a key, to ask whether it may send one.
    if request.method == "OPTIONS":
        return False
    path = routed_path(request)
    # A browser that opens the page can send no key; the page asks for one, and holds no secret.
    if request.method in {"GET", "HEAD"} and is_page(path):
        return False
    if scope is KeyScope.CHANGES and path not in PRIVATE_PATHS:
        return request.method not in {"GET", "HEAD"}
    return scope is KeyScope.ALL or path not in HEALTH_PATHS


def describe_key_problem(token: str) -> str:
    """Why a client without a valid key is refused."""
    problem = "the API key is wrong" if token else "no API key was sent"
    return f"{problem}; it is expected as: Authorization: Bearer <key>, or x-api-key: <key>"
