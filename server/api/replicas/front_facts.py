"""What the front tells a replica of a client, in headers that only the front can write.

The front has checked the key, the Host, and the limits of the client. The replica needs to know who
asks: to share its engine fairly, and to check what the key allows.
"""

import base64
import hmac
import json
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.clients.api_keys import ApiKey, Scope
from server.api.errors import ApiError, error_response
from server.api.request_facts import REQUEST_FACTS, REQUEST_ID_HEADER, RequestFacts

__all__ = [
    "FRONT_HEADERS",
    "facts_from_front",
    "facts_headers",
    "front_middleware",
    "is_from_front",
]

SECRET = "x-front-secret"
FACTS = "x-front-facts"
FRONT_HEADERS = frozenset({SECRET, FACTS})
"""In lower case; the front removes those that a client sends."""


def facts_headers(secret: str, facts: RequestFacts | None = None) -> dict[str, str]:
    """The headers for a request; without facts it is the front itself that asks."""
    headers = {SECRET: secret}
    if facts is not None:
        headers[REQUEST_ID_HEADER.lower()] = facts.request_id
        headers[FACTS] = _encode(facts)
    return headers


def _encode(facts: RequestFacts) -> str:
    key = facts.key
    told = {
        "client": facts.client,
        "cache_salt": facts.cache_salt,
        "key": None
        if key is None
        else {
            "name": key.name,
            "scope": key.scope,
            "models": None if key.models is None else sorted(key.models),
        },
    }
    return base64.b64encode(json.dumps(told).encode()).decode()


def is_from_front(headers: Mapping[str, str], secret: str) -> bool:
    """Whether the front sent a request. The names of `headers` are in lower case, or ignore it."""
    # A header may hold any bytes, which aiohttp decodes in this way.
    sent = headers.get(SECRET, "").encode(errors="surrogateescape")
    return hmac.compare_digest(sent, secret.encode())


def facts_from_front(headers: Mapping[str, str], secret: str) -> RequestFacts:
    """The facts of a request that a replica got; of no client if not from the front."""
    request_id = headers.get(REQUEST_ID_HEADER.lower(), "")
    if not is_from_front(headers, secret) or FACTS not in headers:
        return RequestFacts.named(request_id, "front")
    told = json.loads(base64.b64decode(headers[FACTS]))
    facts = RequestFacts.named(request_id, told["client"])
    facts.cache_salt = told["cache_salt"]
    key = told["key"]
    if key is not None:
        models = None if key["models"] is None else frozenset(key["models"])
        facts.key = ApiKey(b"", key["name"], Scope(key["scope"]), models)
    return facts


def front_middleware(secret: str) -> Middleware:
    """Make the middleware that refuses all requests that the front did not send."""

    @web.middleware
    async def check_front(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_from_front(request.headers, secret):
            return await handler(request)
        request[REQUEST_FACTS].error = "not_from_front"
        problem = "this is a replica, which only its front may ask"
        return error_response(request, ApiError(403, problem, code="not_from_front"))

    return check_front
