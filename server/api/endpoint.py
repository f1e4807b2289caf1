"""An endpoint as data: its route is made from it, and so is its part of /openapi.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from server.api.body import meet_expectation
from server.protocol.openai.answer_schemas import ErrorAnswer

__all__ = [
    "Answer",
    "Endpoint",
    "Schema",
    "add_routes",
    "error_answers",
    "json_answer",
    "json_body",
]

# Model Server answers under all three; the longest is its oldest spelling, and has to come first:
# the path of a raw graph begins behind it.
PREFIXES = ("/v3/v1", "/v3", "/v1")

ERRORS: Mapping[int, str] = {
    400: "The request cannot be served as it is; `error.param` names the field.",
    401: "An API key is needed: `Authorization: Bearer <key>`.",
    404: "There is no such thing, for example no model of that name.",
    405: "The path has other methods; the header Allow lists them.",
    408: "The body did not come in time.",
    412: "A file of the configuration, or a graph, makes no sense.",
    413: "The body is too large.",
    500: "The server failed at this request; the others go on.",
    503: "The model, or the server, is loading, has failed, or stops.",
}

Schema = type[BaseModel] | Mapping[str, Any]
"""The type of a body: a pydantic model, or a JSON schema."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a status means, and the schema of each media type that comes with it, if any does."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)


Answers = Mapping[str, Answer]
"""What a client can get, by the status; "default" stands for all others."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    `path` is written as aiohttp's routes are, and `is_prefixed` puts it below each of PREFIXES.
    `body` has a schema for each media type that the endpoint takes, `query` the parameters of the
    query string with their meaning. `answers` has every status that a client can see, except for
    what HTTP itself makes of a broken request.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Answers
    body: Mapping[str, Schema] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    is_prefixed: bool = False

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
    """Make the routes. Where several match a path, the first endpoint wins."""
    for endpoint in endpoints:
        for path in endpoint.paths():
            resource = router.add_resource(path)
            for method in ("HEAD", "GET") if endpoint.method == "GET" else (endpoint.method,):
                resource.add_route(method, endpoint.handler, expect_handler=meet_expectation)
