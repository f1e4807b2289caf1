"""POST /v2/models/{model}/infer: tensors in, tensors out, as KServe has it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from server.api.body import read_plain_body
from server.api.endpoint import Answer, Endpoint, Schema, error_answers
from server.api.endpoints.model_metadata import model_of_path
from server.api.model_lookup import graph_between
from server.errors import GenerationError
from server.graph import Graph
from server.payloads import InferRequest, InferResponse
from server.protocol.kserve.answer_schemas import InferAnswer, KServeError
from server.protocol.kserve.infer import InferFields, parse_infer
from server.protocol.kserve.infer_rendering import render_infer

__all__ = ["ENDPOINTS"]

T = TypeVar("T")

HEADER_LENGTH = "Inference-Header-Content-Length"
# Parsing or writing so much keeps the event loop busy for about a millisecond.
MAX_BYTES_ON_EVENT_LOOP = 2**16


async def _infer(request: web.Request) -> web.Response:
    body = await read_plain_body(request)
    header_length = request.headers.get(HEADER_LENGTH)
    is_small = len(body) <= MAX_BYTES_ON_EVENT_LOOP
    call = await _do(lambda: parse_infer(body, header_length, in_thread=not is_small), is_small)
    # Only now: the model may be replaced while a large body is parsed.
    model = model_of_path(request)
    graph = graph_between(model, InferRequest, InferResponse)
    response = await _run(graph, call.request)
    is_small = sum(len(tensor.data) for tensor in response.outputs) <= MAX_BYTES_ON_EVENT_LOOP
    answer, json_length = await _do(
        lambda: render_infer(call, response, model.name, model.version), is_small
    )
    if json_length is None:
        return web.Response(body=answer, content_type="application/json")
    headers = {HEADER_LENGTH: str(json_length)}
    return web.Response(body=answer, content_type="application/octet-stream", headers=headers)


async def _do(work: Callable[[], T], is_small: bool) -> T:
    return work() if is_small else await asyncio.to_thread(work)


async def _run(graph: Graph, packet: InferRequest) -> InferResponse:
    async with graph.start_run(packet) as run:
        async for response in run:
            assert isinstance(response, InferResponse)
            return response
    raise GenerationError("the graph ended without an answer")


BODY: dict[str, Schema] = {
    "application/json": InferFields,
    "application/octet-stream": {"type": "string"},
}
ANSWERS = {
    "200": Answer(
        "The outputs: as JSON, or JSON with binary data after it",
        {"application/json": InferAnswer, "application/octet-stream": {"type": "string"}},
    ),
    **error_answers(400, 404, 413, 500, 503, schema=KServeError),
}
ENDPOINTS = tuple(
    Endpoint("POST", path, _infer, "Run a model on tensors", ANSWERS, body=BODY)
    for path in ("/v2/models/{name:.+?}/versions/{version}/infer", "/v2/models/{name:.+?}/infer")
)
