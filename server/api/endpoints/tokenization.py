"""The endpoints of a model's tokenizer, as OVMS and vLLM have them."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, RootModel

from server.api.body import read_call
from server.api.endpoint import Answers, Endpoint, error_answers, json_answer, json_body
from server.api.keys import MODEL_MANAGER
from server.api.large_answer import json_response
from server.api.model_lookup import find_model
from server.api.unknown_fields import UNKNOWN_FIELD_POLICY
from server.errors import InvalidRequestError
from server.payloads import ModelLimits, TextTokenizer
from server.protocol.anthropic.message_object import ErrorMessage, TokenCount
from server.protocol.anthropic.messages import PromptFields
from server.protocol.anthropic.token_count import parse_count
from server.protocol.field_rules import FieldRules
from server.protocol.field_table import TOKENIZE
from server.protocol.json_text import json_pieces
from server.protocol.openai.chat_completions import ChatCompletionFields
from server.protocol.openai.completions import CompletionFields
from server.protocol.rendered_prompt import (
    PromptCall,
    RenderedPrompt,
    parse_rendered_chat,
    parse_rendered_completion,
)
from server.protocol.tokenization import (
    NO_RULES,
    SENTENCES,
    Detokenized,
    DetokenizeFields,
    Tokenized,
    TokenizeFields,
    TokenizerDescription,
    TokenizerFields,
    TokenizerInfoFields,
)
from server.protocol.validation import validate_fields

__all__ = ["ENDPOINTS"]

# Of their own, so that long texts leave those that all endpoints share to others.
_THREADS = ThreadPoolExecutor(2, "tokenize")


def _handler(kind: type[TokenizerFields], rules: FieldRules) -> Handler:
    def parse(fields: Mapping[str, Any]) -> TokenizerFields:
        return validate_fields(kind, fields, rules, SENTENCES)

    async def handle(request: web.Request) -> web.Response:
        fields = await read_call(request, parse)
        request.app[UNKNOWN_FIELD_POLICY].apply(request, rules.unknown_fields(fields))
        return await _answer(request, fields)

    return handle


async def _get_tokenizer_info(request: web.Request) -> web.Response:
    return await _answer(request, TokenizerInfoFields(model=request.query.get("model")))


def _prompt_handler(parse: Callable[[Mapping[str, Any]], PromptCall]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        call = await read_call(request, parse)
        request.app[UNKNOWN_FIELD_POLICY].apply(request, call.unknown_fields)
        return await _answer(request, call)

    return handle


async def _answer(request: web.Request, fields: TokenizerFields | PromptCall) -> web.Response:
    name = _only_model(request) if fields.model is None else fields.model
    model = find_model(request, name)
    async with model.graph.hold() as graph:
        tokenizer = graph.find_side_packet(TextTokenizer)  # type: ignore[type-abstract]
        if tokenizer is None:
            raise InvalidRequestError(f"model {model.name!r} has no tokenizer", "model")
        limits = graph.find_side_packet(ModelLimits)
        max_model_len = None if limits is None else limits.max_model_len

        # In a thread, so that other requests go on: texts may be long, and a chat template slow.
        loop = asyncio.get_running_loop()
        work = partial(fields.answer, model.name, tokenizer, max_model_len)
        answer = await loop.run_in_executor(_THREADS, work)
    return await json_response(json_pieces(answer))


def _only_model(request: web.Request) -> str:
    names = request.app[MODEL_MANAGER].served_names()
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise InvalidRequestError(f"model is missing; models: {found}", "model")
    return names[0]


def _answers(description: str, whole: type[BaseModel]) -> Answers:
    return json_answer(description, whole) | error_answers(400, 404, 413, 500, 503)


def _endpoints() -> Iterator[Endpoint]:
    for is_prefixed in (False, True):
        yield Endpoint(
            "POST",
            "/tokenize",
            _handler(TokenizeFields, TOKENIZE),
            "Tokenize texts or a conversation",
            _answers("Token ids", Tokenized),
            body=json_body(TokenizeFields),
            is_prefixed=is_prefixed,
        )
        yield Endpoint(
            "POST",
            "/detokenize",
            _handler(DetokenizeFields, NO_RULES),
            "Turn token ids into text",
            _answers("The text", Detokenized),
            body=json_body(DetokenizeFields),
            is_prefixed=is_prefixed,
        )
    yield Endpoint(
        "POST",
        "/messages/count_tokens",
        _prompt_handler(parse_count),
        "Count the tokens of a conversation, in the form of Anthropic's Messages API",
        json_answer("The number of tokens", TokenCount)
        | error_answers(400, 404, 413, 500, 503, schema=ErrorMessage),
        body=json_body(PromptFields),
        is_prefixed=True,
    )
    yield Endpoint(
        "POST",
        "/chat/completions/render",
        _prompt_handler(parse_rendered_chat),
        "The prompt of a chat completion as token ids, in vLLM's form",
        _answers("The prompt", RenderedPrompt),
        body=json_body(ChatCompletionFields),
        is_prefixed=True,
    )
    yield Endpoint(
        "POST",
        "/completions/render",
        _prompt_handler(parse_rendered_completion),
        "The prompts of a completion as token ids, in vLLM's form",
        _answers("Each prompt", RootModel[list[RenderedPrompt]]),
        body=json_body(CompletionFields),
        is_prefixed=True,
    )
    yield Endpoint(
        "POST",
        "/tokenizer_info",
        _handler(TokenizerInfoFields, NO_RULES),
        "Describe a tokenizer",
        _answers("The description of the tokenizer", TokenizerDescription),
        body=json_body(TokenizerInfoFields),
    )
    yield Endpoint(
        "GET",
        "/tokenizer_info",
        _get_tokenizer_info,
        "Describe a tokenizer",
        _answers("The description of the tokenizer", TokenizerDescription),
        query={"model": "The model; not needed if there is only one"},
    )


ENDPOINTS = tuple(_endpoints())
