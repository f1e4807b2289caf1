"""An endpoint as data: the source of its route and of its part of /openapi.json."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_urldispatcher import MatchInfoError
from pydantic import BaseModel

from server.api.body import meet_expectation
from server.api.clients.api_keys import Scope, check_scope
from server.api.request_facts import REQUEST_FACTS
from server.protocol.openai.answer_schemas import ErrorAnswer

__all__ = [
    "Answer",
    "Answers",
    "Endpoint",
    "Schema",
    "add_routes",
    "error_answers",
    "json_answer",
    "json_body",
]

# OVMS answers under all three. The longest must come first: what follows the prefix is the name of
# a raw graph.
PREFIXES = ("/v3/v1", "/v3", "/v1")

ERRORS: Mapping[int, str] = {
    400: "The request cannot be served as it is; `error.param` names the field.",
    401: "An API key is needed: `Authorization: Bearer <key>`, or `x-api-key: <key>`.",
    403: "Not allowed: to the API key, to pages of that origin, or under that host name.",
    404: "Not found, for example because there is no model of that name.",
    405: "The path does not take this method; the header Allow lists those it takes.",
    408: "The body did not arrive in time.",
    412: "The configuration file or a graph is not valid.",
    413: "The body is too large.",
    429: "Too many requests of this client; the header Retry-After says when to try again.",
    500: "The server failed to serve this request; all others go on.",
    503: "The model or the server is loading, has failed, is stopping, or has too much to do; the "
    "header Retry-After says when to try again.",
    504: "A node of the graph worked on the request for longer than a node may.",
}

Schema = type[BaseModel] | Mapping[str, Any]
"""The type of a body: a pydantic model, or a JSON schema."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a status means, and the schema of each media type that comes with it, if any does."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)


Answers = Mapping[str, Answer]
"""What a client can get, by status; "default" stands for all other statuses."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    `path` is written as aiohttp's routes are, and `is_prefixed` puts it below each of PREFIXES.
    `body` has a schema for each media type that the endpoint takes, `query` the parameters of the
    query string with their meaning. `answers` has every status that a client can get, except for
    those of broken HTTP. Where there are API keys, `is_admin` needs one with the scope admin.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Answers
    body: Mapping[str, Schema] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    is_prefixed: bool = False
    is_admin: bool = False

    def paths(self) -> Sequence[str]:
        """The path, below every prefix."""
        return [prefix + self.path for prefix in PREFIXES] if self.is_prefixed else [self.path]


def json_body(model: type[BaseModel]) -> Mapping[str, Schema]:
    """A body that is a JSON object."""
    return {"application/json": model}


def json_answer(description: str, schema: Schema) -> dict[str, Answer]:
    """Status 200 with a JSON body."""
    return {"200": Answer(description, {"application/json": schema})}


def error_answers(*statuses: int, schema: Schema = ErrorAnswer) -> dict[str, Answer]:
    """The errors that an endpoint can answer with."""
    return {str(s): Answer(ERRORS[s], {"application/json": schema}) for s in statuses}


def add_routes(router: web.UrlDispatcher, endpoints: Sequence[Endpoint]) -> None:
    """Add the routes. If several match a path, the first endpoint wins."""
    for endpoint in endpoints:
        handler = _admin_only(endpoint.handler) if endpoint.is_admin else endpoint.handler
        for path in endpoint.paths():
            resource = router.add_resource(path)
            for method in ("HEAD", "GET") if endpoint.method == "GET" else (endpoint.method,):
                resource.add_route(method, handler, expect_handler=meet_expectation)
    _meet_all_expectations(router)


class _NoEndpoint(MatchInfoError):
    """What aiohttp answers with 404 or 405, whatever else the client expects."""

    @property
    def expect_handler(self) -> Callable[[web.Request], Awaitable[None]]:
        return meet_expectation


def _meet_all_expectations(router: web.UrlDispatcher) -> None:
    """Do what `meet_expectation` does also where there is no endpoint."""
    resolve = router.resolve

    @wraps(resolve)
    async def resolve_all(request: web.Request) -> web.UrlMappingMatchInfo:
        found = await resolve(request)
        return found if found.http_exception is None else _NoEndpoint(found.http_exception)

    router.resolve = resolve_all  # type: ignore[method-assign]


def _admin_only(handler: Handler) -> Handler:
    async def check(request: web.Request) -> web.StreamResponse:
        check_scope(request[REQUEST_FACTS].key, Scope.ADMIN)
        return await handler(request)

    return check
