"""Requests for text of which only the prompt is wanted: as token ids, or their number."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from server.payloads import GenerationRequest, TextTokenizer
from server.protocol.field_rules import UnknownFields
from server.protocol.generation_call import GenerationCall
from server.protocol.openai.chat_completions import parse_chat_completion
from server.protocol.openai.completions import parse_completion
from server.protocol.tokenization import check_size

__all__ = ["PromptCall", "RenderedPrompt", "parse_rendered_chat", "parse_rendered_completion"]

Answer = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class RenderedPrompt(BaseModel):
    """A prompt as the model reads it, with those members of vLLM's answer that routers read."""

    request_id: str
    model: str
    token_ids: list[int]
    features: None
    cache_salt: str | None
    priority: int


@dataclass(frozen=True, slots=True)
class PromptCall:
    """Prompts that are tokenised and not continued; `render` makes the answer of them."""

    model: str
    requests: Sequence[GenerationRequest]
    render: Callable[[str, Sequence[Sequence[int]]], Answer]
    unknown_fields: UnknownFields

    def answer(self, model: str, tokenizer: TextTokenizer, max_model_len: int | None) -> Answer:
        """The members of the answer; called in a worker thread. Raises InvalidRequestError."""
        texts = [request.prompt for request in self.requests if isinstance(request.prompt, str)]
        check_size(texts, "prompt")
        tokens = [_tokenize(tokenizer, request, max_model_len) for request in self.requests]
        return self.render(model, tokens)


def parse_rendered_chat(body: Mapping[str, Any]) -> PromptCall:
    """Parse a body of chat completions; the answer is a RenderedPrompt.

    Raises InvalidRequestError.
    """
    call = parse_chat_completion(body)
    return _prompt_call(call, lambda model, tokens: _describe(call, model, tokens)[0])


def parse_rendered_completion(body: Mapping[str, Any]) -> PromptCall:
    """Parse a body of completions; the answer is a list with a RenderedPrompt for each prompt.

    Raises InvalidRequestError.
    """
    call = parse_completion(body)
    return _prompt_call(call, lambda model, tokens: _describe(call, model, tokens))


def _prompt_call(
    call: GenerationCall, render: Callable[[str, Sequence[Sequence[int]]], Answer]
) -> PromptCall:
    return PromptCall(call.model, call.prompts, render, call.unknown_fields)


def _describe(
    call: GenerationCall, model: str, tokens: Sequence[Sequence[int]]
) -> list[Mapping[str, Any]]:
    return [
        {
            "request_id": request.request_id,
            "model": model,
            "token_ids": token_ids,
            "features": None,
            "cache_salt": request.cache_salt or None,
            "priority": request.priority,
        }
        for request, token_ids in zip(call.prompts, tokens, strict=True)
    ]


def _tokenize(
    tokenizer: TextTokenizer, request: GenerationRequest, max_model_len: int | None
) -> Sequence[int]:
    if request.messages is not None:
        text = tokenizer.render_chat(
            request.messages, request.tools, request.chat_template_kwargs, request.chat_options
        )
        (text,) = check_size([text], "messages")
        tokens: Sequence[int] = tokenizer.encode(text, add_special_tokens=False)
    elif isinstance(request.prompt, str):
        tokens = tokenizer.encode(request.prompt, add_special_tokens=True)
    else:
        assert request.prompt is not None
        tokens = request.prompt
    wanted = request.truncate_prompt_tokens
    if wanted == -1 and max_model_len is not None:
        num_answer = request.sampling.get("max_tokens", request.default_max_tokens)
        wanted = max(1, max_model_len - max(1, num_answer or 1))
    return tokens if wanted is None or wanted < 1 else tokens[-wanted:]
