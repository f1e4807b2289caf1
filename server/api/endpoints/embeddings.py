"""POST embeddings, pooling and embed: parse the request, run the graph, write its vectors."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from server.api.body import read_call
from server.api.endpoint import Endpoint, error_answers, json_answer, json_body
from server.api.large_answer import json_response
from server.api.model_lookup import find_model, graph_between
from server.api.request_facts import REQUEST_FACTS
from server.api.runs import run_once
from server.api.unknown_fields import UNKNOWN_FIELD_POLICY
from server.payloads import EmbeddingRequest, EmbeddingResponse
from server.protocol.embeddings.cohere import EmbedAnswer, EmbedFields, parse_embed
from server.protocol.embeddings.embedding_call import EmbeddingCall
from server.protocol.embeddings.embeddings import EmbeddingFields, EmbeddingList, parse_embeddings
from server.protocol.embeddings.pooling import PoolingFields, PoolingList, parse_pooling
from server.protocol.kserve.answer_schemas import KServeError
from server.protocol.openai.answer_schemas import ErrorAnswer

__all__ = ["ENDPOINTS"]


def _handler(parse: Callable[[Mapping[str, Any]], EmbeddingCall]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        call = await read_call(request, parse)
        request.app[UNKNOWN_FIELD_POLICY].apply(request, call.unknown_fields)
        model = find_model(request, call.model)
        graph = graph_between(model, EmbeddingRequest, EmbeddingResponse)
        response = await run_once(graph, call.request, EmbeddingResponse, request[REQUEST_FACTS])
        request[REQUEST_FACTS].num_input_tokens = response.num_tokens
        return await json_response(call.answer(response))

    return handle


def _endpoint(
    path: str,
    summary: str,
    parse: Callable[[Mapping[str, Any]], EmbeddingCall],
    fields: type[BaseModel],
    answer: type[BaseModel],
    *,
    is_prefixed: bool,
) -> Endpoint:
    error = KServeError if path.startswith("/v2/") else ErrorAnswer
    return Endpoint(
        "POST",
        path,
        _handler(parse),
        summary,
        json_answer("The vectors", answer)
        | error_answers(400, 404, 413, 500, 503, 504, schema=error),
        body=json_body(fields),
        is_prefixed=is_prefixed,
    )


def _endpoints() -> Iterator[Endpoint]:
    yield _endpoint(
        "/embeddings",
        "Turn texts into vectors",
        parse_embeddings,
        EmbeddingFields,
        EmbeddingList,
        is_prefixed=True,
    )
    for is_prefixed in (True, False):
        yield _endpoint(
            "/pooling",
            "Turn texts into vectors, one for each text or one for each token",
            parse_pooling,
            PoolingFields,
            PoolingList,
            is_prefixed=is_prefixed,
        )
    for path, version, is_prefixed in (("/embed", "1", True), ("/v2/embed", "2", False)):
        yield _endpoint(
            path,
            "Turn texts into vectors of several types, in the form of Cohere's API",
            partial(parse_embed, api_version=version),
            EmbedFields,
            EmbedAnswer,
            is_prefixed=is_prefixed,
        )


ENDPOINTS = tuple(_endpoints())
