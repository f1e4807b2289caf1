"""POST to any other path: a raw graph gets the HTTP request and writes the answer itself."""

from collections.abc import AsyncIterator

from aiohttp import web

from server.api.body import read_body
from server.api.endpoint import Answer, Endpoint, error_answers
from server.api.errors import ClientGoneError, api_error
from server.api.keys import MODEL_MANAGER
from server.api.model_lookup import find_model
from server.api.off_event_loop import off_event_loop
from server.api.request_facts import REQUEST_FACTS
from server.api.runs import start_run
from server.errors import (
    GenerationError,
    InvalidRequestError,
    ModelNotFoundError,
    describe_value,
    did_you_mean,
)
from server.graph import ServedGraph
from server.models.model_manager import ModelManager
from server.payloads import HttpRequestPayload, HttpResponsePayload
from server.protocol.json_body import NotJsonError, parse_json_object

__all__ = ["ENDPOINTS"]

# These paths take GET only: a POST is a wrong method there, not a request for a raw graph.
NOT_RAW = r"(?:v1/)?(?:models|config)(?:/|$)"

# Suggested when a path is misspelt.
KNOWN_ENDPOINTS = (
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "chat/completions",
    "classify",
    "completions",
    "detokenize",
    "embed",
    "embeddings",
    "images/edits",
    "images/generations",
    "messages",
    "pooling",
    "rerank",
    "responses",
    "score",
    "tokenize",
)


async def _handle_raw(request: web.Request) -> web.StreamResponse:
    """Run the graph that `model` in a JSON body names, or else the path."""
    body = await read_body(request)
    endpoint = request.match_info["endpoint"]
    name = await off_event_loop(lambda: _model_in_body(body), len(body))
    graph = _find_graph(request, endpoint, name)
    facts = request[REQUEST_FACTS]
    headers = _headers(request)
    payload = HttpRequestPayload(
        method=request.method,
        path=request.path,
        # A graph may pass its headers on.
        headers=headers if facts.trace is None else facts.trace.inject(headers),
        body=body,
        query=request.query_string,
    )
    async with start_run(graph, payload, facts) as run:
        return await _send(request, run)


def _headers(request: web.Request) -> dict[str, str]:
    """Header fields with lower-case names; repeated ones are joined (RFC 9110, 5.3)."""
    headers = request.headers
    return {name.lower(): ", ".join(headers.getall(name)) for name in headers}


def _find_graph(request: web.Request, endpoint: str, name: str | None) -> ServedGraph:
    model = find_model(request, _model_name(request.app[MODEL_MANAGER], endpoint, name))
    mismatch = model.graph.find_mismatch(HttpRequestPayload, HttpResponsePayload)
    if mismatch is not None:
        problem = f"model {model.name!r} does not serve {endpoint!r}: its graph {mismatch}"
        raise InvalidRequestError(problem, "model")
    return model.graph


def _model_name(manager: ModelManager, endpoint: str, name: str | None) -> str:
    if name is None and endpoint not in manager.served_names():
        hint = did_you_mean(endpoint, [*KNOWN_ENDPOINTS, *manager.served_names()])
        problem = f"{endpoint!r} is neither an endpoint nor a model, and the body names no model"
        raise ModelNotFoundError(problem + hint)
    return endpoint if name is None else name


def _model_in_body(body: bytes) -> str | None:
    """`model` of a JSON object; the graph checks the rest of the body."""
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        fields = parse_json_object(body, allows_nan=True)
    except NotJsonError:
        return None
    name = fields.get("model")
    if not (name is None or isinstance(name, str)):
        raise InvalidRequestError(f"model must be a string, found {describe_value(name)}", "model")
    return name or None


async def _send(
    request: web.Request, payloads: AsyncIterator[HttpResponsePayload]
) -> web.StreamResponse:
    response = None
    try:
        async for payload in payloads:
            if response is None:
                headers = {"Content-Type": payload.content_type}
                response = web.StreamResponse(status=payload.status, headers=headers)
            await _write(request, response, payload.body)
    except ClientGoneError:
        raise
    except Exception as error:
        if response is None:
            raise
        api_error(error).note(request)
        _cut(request)
        return response
    if response is None:
        raise GenerationError("the graph ended without an answer")
    return response


async def _write(request: web.Request, response: web.StreamResponse, body: bytes) -> None:
    try:
        if not response.prepared:
            await response.prepare(request)
        await response.write(body)
    except ConnectionError as error:
        raise ClientGoneError from error


def _cut(request: web.Request) -> None:
    """Break the connection: nothing else tells the client that the body is incomplete."""
    if request.transport is not None:
        request.transport.abort()


ENDPOINTS = (
    Endpoint(
        "POST",
        f"/{{endpoint:(?!{NOT_RAW}).+}}",
        _handle_raw,
        "Any other path: a graph that takes HTTP requests itself, chosen by `model` or by the path",
        {"default": Answer("Whatever the graph answers", {"*/*": {}})}
        | error_answers(400, 404, 405, 413, 500, 503, 504),
        body={"*/*": {}},
        is_prefixed=True,
    ),
)
