"""GET /openapi.json: a description of all endpoints, made of the same data as their routes."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.api.endpoint import Answer, Answers, Endpoint, Schema, error_answers, json_answer
from server.host.version import DISTRIBUTION, version
from server.protocol.json_text import json_bytes

__all__ = ["describe_endpoints", "documented_path", "openapi_endpoint"]

# With an API key, or a time limit for requests.
ALWAYS_POSSIBLE = error_answers(401, 403, 408, 429, 503)
PATH_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]+)?\}")


def openapi_endpoint(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that describes the given ones and itself."""
    body: bytes | None = None

    async def get_openapi(_: web.Request) -> web.Response:
        # Made at the first request: it takes a tenth of a second, and most servers get none.
        nonlocal body
        if body is None:
            document = await asyncio.to_thread(describe_endpoints, [*endpoints, itself])
            body = json_bytes(document)
        return web.Response(body=body, content_type="application/json")

    itself = Endpoint(
        "GET",
        "/openapi.json",
        get_openapi,
        "This document",
        json_answer("OpenAPI 3.1", {"type": "object"}),
    )
    return itself


def describe_endpoints(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document."""
    schemas = _Schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        for path in endpoint.paths():
            operation = _describe_operation(endpoint, path, schemas)
            paths.setdefault(documented_path(path), {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": DISTRIBUTION, "version": version()},
        "paths": paths,
        "components": {"schemas": schemas.components},
    }


def documented_path(path: str) -> str:
    """A route's path without the regular expressions of its parameters."""
    return PATH_PARAMETER.sub(r"{\1}", path)


class _Schemas:
    """JSON schemas of every model that the endpoints name; `components` has them by name."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        models = dict.fromkeys(model for endpoint in endpoints for model in _models_of(endpoint))
        references, definitions = models_json_schema(
            [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
        )
        self._references = {model: reference for (model, _), reference in references.items()}
        self.components: dict[str, Any] = definitions.get("$defs", {})

    def describe(self, content: Mapping[str, Schema]) -> dict[str, Any]:
        """The media types of a body."""
        return {
            media_type: {"schema": self._references[schema] if isinstance(schema, type) else schema}
            for media_type, schema in content.items()
        }


def _models_of(endpoint: Endpoint) -> Iterable[type[BaseModel]]:
    for content in (endpoint.body, *(answer.content for answer in endpoint.answers.values())):
        yield from (schema for schema in content.values() if isinstance(schema, type))


def _describe_operation(endpoint: Endpoint, path: str, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method} {documented_path(path)}",
        "summary": endpoint.summary,
        "responses": {
            status: _describe_answer(answer, schemas)
            for status, answer in _answers_of(endpoint).items()
        },
    }
    parameters = [
        *({"name": name, "in": "path", "required": True} for name in PATH_PARAMETER.findall(path)),
        *({"name": name, "in": "query", "description": d} for name, d in endpoint.query.items()),
    ]
    if parameters:
        operation["parameters"] = [{**p, "schema": {"type": "string"}} for p in parameters]
    if endpoint.body:
        operation["requestBody"] = {"content": schemas.describe(endpoint.body), "required": True}
    return operation


def _answers_of(endpoint: Endpoint) -> Answers:
    """The endpoint's answers, and the errors of every endpoint in the form of its own."""
    own = endpoint.answers
    content = next((own[s].content for s in sorted(own) if s >= "400" and own[s].content), None)
    always = {
        status: answer if content is None else Answer(answer.description, content)
        for status, answer in ALWAYS_POSSIBLE.items()
    }
    return {**always, **own}


def _describe_answer(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.content:
        described["content"] = schemas.describe(answer.content)
    return described
