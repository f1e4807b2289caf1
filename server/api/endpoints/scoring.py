"""POST rerank, score and classify: parse the request, run the graph, write its answer."""

import asyncio
from collections.abc import Iterator
from functools import partial

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
from server.models.model_manager import ServedModel
from server.payloads import (
    EmbeddingRequest,
    EmbeddingResponse,
    ScoringRequest,
    ScoringResponse,
)
from server.protocol.kserve.answer_schemas import KServeError
from server.protocol.openai.answer_schemas import ErrorAnswer
from server.protocol.scoring.classify import (
    ClassifyAnswer,
    ClassifyCall,
    ClassifyFields,
    parse_classify,
)
from server.protocol.scoring.rerank import RerankAnswer, RerankCall, RerankFields, parse_rerank
from server.protocol.scoring.score import ScoreAnswer, ScoreCall, ScoreFields, parse_score
from server.protocol.scoring.similarity import cosine_scores, embedding_request

__all__ = ["ENDPOINTS"]


def _rerank_handler(*, returns_documents: bool, api_version: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        call = await read_call(request, partial(parse_rerank, returns_documents=returns_documents))
        response = await _score_pairs(request, call)
        return await json_response(call.answer(response, api_version))

    return handle


async def _score(request: web.Request) -> web.Response:
    call = await read_call(request, parse_score)
    response = await _score_pairs(request, call)
    return await json_response(call.answer(response))


async def _classify(request: web.Request) -> web.Response:
    call = await read_call(request, parse_classify)
    model = _find_model(request, call)
    graph = graph_between(model, ScoringRequest, ScoringResponse)
    response = await run_once(graph, call.request, ScoringResponse, request[REQUEST_FACTS])
    request[REQUEST_FACTS].num_input_tokens = response.num_tokens
    return await json_response(call.answer(response))


async def _score_pairs(request: web.Request, call: RerankCall | ScoreCall) -> ScoringResponse:
    """Run a reranker, or a model that embeds texts."""
    model = _find_model(request, call)
    if model.graph.find_mismatch(EmbeddingRequest, EmbeddingResponse) is None:
        packet = embedding_request(call.request)
        vectors = await run_once(model.graph, packet, EmbeddingResponse, request[REQUEST_FACTS])
        response = await asyncio.to_thread(cosine_scores, call.request, vectors)
    else:
        graph = graph_between(model, ScoringRequest, ScoringResponse)
        response = await run_once(graph, call.request, ScoringResponse, request[REQUEST_FACTS])
    request[REQUEST_FACTS].num_input_tokens = response.num_tokens
    return response


def _find_model(request: web.Request, call: RerankCall | ScoreCall | ClassifyCall) -> ServedModel:
    request.app[UNKNOWN_FIELD_POLICY].apply(request, call.unknown_fields)
    return find_model(request, call.model)


def _endpoint(
    path: str,
    handler: Handler,
    summary: str,
    fields: type[BaseModel],
    answer: type[BaseModel],
    *,
    is_prefixed: bool,
) -> Endpoint:
    error = KServeError if path.startswith("/v2/") else ErrorAnswer
    return Endpoint(
        "POST",
        path,
        handler,
        summary,
        json_answer("The answer", answer)
        | error_answers(400, 404, 413, 500, 503, 504, schema=error),
        body=json_body(fields),
        is_prefixed=is_prefixed,
    )


def _endpoints() -> Iterator[Endpoint]:
    # Model Server and Cohere return documents only when asked to, Jina and vLLM by default.
    for path, is_prefixed, returns_documents, api_version in (
        ("/rerank", True, False, "1"),
        ("/v2/rerank", False, False, "2"),
        ("/rerank", False, True, "1"),
    ):
        yield _endpoint(
            path,
            _rerank_handler(returns_documents=returns_documents, api_version=api_version),
            "Put documents into the order of their relevance to a query",
            RerankFields,
            RerankAnswer,
            is_prefixed=is_prefixed,
        )
    for is_prefixed in (True, False):
        yield _endpoint(
            "/score",
            _score,
            "Score pairs of texts",
            ScoreFields,
            ScoreAnswer,
            is_prefixed=is_prefixed,
        )
        yield _endpoint(
            "/classify",
            _classify,
            "Classify texts",
            ClassifyFields,
            ClassifyAnswer,
            is_prefixed=is_prefixed,
        )


ENDPOINTS = tuple(_endpoints())
