"""The endpoints of text models: parse the request, run the graph, render its chunks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, RootModel

from server.api.body import read_call
from server.api.endpoint import Answer, Answers, Endpoint, error_answers, json_body
from server.api.errors import ClientGoneError, api_error
from server.api.large_answer import json_response
from server.api.model_lookup import find_model, graph_between
from server.api.request_facts import REQUEST_FACTS, RequestFacts
from server.api.runs import start_runs
from server.api.sse import EventStream
from server.api.unknown_fields import UNKNOWN_FIELD_POLICY
from server.errors import GenerationError, InvalidRequestError
from server.payloads import GenerationRequest, TextChunk
from server.protocol.anthropic.message_object import ErrorMessage, MessageObject
from server.protocol.anthropic.messages import MessageFields, parse_message
from server.protocol.generation_call import GenerationCall
from server.protocol.mii import MiiFields, MiiResponse, parse_mii
from server.protocol.openai.answer_schemas import ChatCompletion, Completion, ErrorAnswer
from server.protocol.openai.chat_completions import ChatCompletionFields, parse_chat_completion
from server.protocol.openai.completions import CompletionFields, parse_completion
from server.protocol.responses.response_object import ResponseObject
from server.protocol.responses.responses import ResponseFields, parse_response

__all__ = ["ENDPOINTS"]

T = TypeVar("T")


def _generation_handler(parse: Callable[[Mapping[str, Any]], GenerationCall]) -> Handler:
    """Make the handler of an endpoint from the function that parses its bodies."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await _answer(request, await read_call(request, parse))

    return handle


async def _answer_mii(request: web.Request) -> web.StreamResponse:
    parse = partial(parse_mii, request.match_info["deployment"])
    return await _answer(request, await read_call(request, parse))


async def _answer(request: web.Request, call: GenerationCall) -> web.StreamResponse:
    request.app[UNKNOWN_FIELD_POLICY].apply(request, call.unknown_fields)
    graph = graph_between(find_model(request, call.model), GenerationRequest, TextChunk)
    facts = request[REQUEST_FACTS]
    facts.num_choices = call.num_choices
    facts.method = "Stream" if call.stream else "Unary"
    try:
        async with start_runs(graph, call.prompts, call.num_choices, facts) as chunks:
            if call.stream:
                return await _answer_in_events(request, call, chunks, facts)
            return await _answer_whole(call, chunks, facts)
    except InvalidRequestError as error:
        raise call.with_own_names(error) from error


async def _answer_whole(
    call: GenerationCall, chunks: AsyncIterator[TextChunk], facts: RequestFacts
) -> web.Response:
    choices = [call.renderer.new_choice() for _ in range(call.num_choices * len(call.prompts))]
    async for chunk in chunks:
        facts.add(chunk)
        await _take(choices[chunk.index].add, chunk)
    _check_finished(call, facts.last_chunks)
    return await json_response(call.renderer.whole(choices, facts.usage()))


async def _answer_in_events(
    request: web.Request,
    call: GenerationCall,
    chunks: AsyncIterator[TextChunk],
    facts: RequestFacts,
) -> web.StreamResponse:
    events = EventStream(request, call.renderer.failure)
    try:
        await _send_events(events, call, chunks, facts)
    except ClientGoneError:
        raise
    except Exception as error:
        if not events.has_started:
            raise
        await events.fail(api_error(error))
    return events.response


async def _send_events(
    events: EventStream,
    call: GenerationCall,
    chunks: AsyncIterator[TextChunk],
    facts: RequestFacts,
) -> None:
    has_logprobs = False
    async for chunk in chunks:
        facts.add(chunk)
        has_logprobs = has_logprobs or bool(chunk.logprobs)
        event = await _take(call.renderer.chunk, chunk)
        if event is not None:
            await events.send(event)
    _check_finished(call, facts.last_chunks)
    end, usage = call.renderer.end, facts.usage()
    # The last event of /responses has the whole answer again.
    await events.send(await asyncio.to_thread(end, usage) if has_logprobs else end(usage))


async def _take(take: Callable[[TextChunk], T], chunk: TextChunk) -> T:
    """Take a chunk. In a thread if it has log probabilities of a prompt: there may be a million."""
    return await asyncio.to_thread(take, chunk) if chunk.prompt_logprobs else take(chunk)


def _check_finished(call: GenerationCall, last_chunks: Mapping[int, TextChunk]) -> None:
    for index in range(call.num_choices * len(call.prompts)):
        if index not in last_chunks or last_chunks[index].finish_reason is None:
            raise GenerationError(f"the graph ended before choice {index} did")


def _endpoint(
    path: str,
    summary: str,
    parse: Callable[[Mapping[str, Any]], GenerationCall],
    fields: type[BaseModel],
    whole: type[BaseModel],
    error: type[BaseModel] = ErrorAnswer,
) -> Endpoint:
    return Endpoint(
        "POST",
        path,
        _generation_handler(parse),
        summary,
        _answers(whole, error),
        body=json_body(fields),
        is_prefixed=True,
    )


def _answers(whole: type[BaseModel], error: type[BaseModel]) -> Answers:
    answer = Answer(
        "The answer: in one piece, or as server-sent events with `stream`",
        {"application/json": whole, "text/event-stream": {"type": "string"}},
    )
    return {"200": answer, **error_answers(400, 404, 413, 500, 503, 504, schema=error)}


ENDPOINTS = (
    _endpoint(
        "/chat/completions",
        "Continue a conversation",
        parse_chat_completion,
        ChatCompletionFields,
        ChatCompletion,
    ),
    _endpoint("/completions", "Continue texts", parse_completion, CompletionFields, Completion),
    _endpoint("/responses", "Make a response", parse_response, ResponseFields, ResponseObject),
    _endpoint(
        "/messages",
        "Answer a conversation in the form of Anthropic's Messages API",
        parse_message,
        MessageFields,
        MessageObject,
        ErrorMessage,
    ),
    Endpoint(
        "POST",
        "/mii/{deployment:.+}",
        _answer_mii,
        "Continue texts, in the form of DeepSpeed-MII",
        _answers(RootModel[list[MiiResponse]], ErrorAnswer),
        body=json_body(MiiFields),
    ),
)
