"""POST completions: JSON -> GenerationRequests, TextChunks -> JSON."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pydantic import ConfigDict

from server.api.protocol.answer import (
    AnswerHead,
    Choice,
    ChoicesRenderer,
    GenerationCall,
    finite_logprob,
    json_string,
)
from server.api.protocol.fields import (
    SHARED_LABELS,
    SHARED_NEUTRAL,
    Count,
    GenerationFields,
    Mixed,
)
from server.api.protocol.validation import FieldRules, validate_fields
from server.errors import InvalidRequestError, describe_value
from server.payloads import GenerationRequest, TextChunk, TokenLogprobs

__all__ = ["CompletionFields", "parse_completion"]

# Each prompt is a run of the graph; more than this in one request is taken for a mistake.
MAX_PROMPTS = 1024
MAX_TOKEN_ID = 2**31 - 1

RULES = FieldRules(neutral={**SHARED_NEUTRAL, "suffix": ("",)}, labels=SHARED_LABELS)

# OpenAI's default here; a chat answer goes on to its own end.
DEFAULT_MAX_TOKENS = 16

Prompt = str | tuple[int, ...]


class CompletionFields(GenerationFields):
    """The fields of a text completion."""

    model_config = ConfigDict(json_schema_extra=RULES.describe)

    prompt: Mixed
    echo: bool = False
    logprobs: Count | None = None


def parse_completion(body: Mapping[str, Any]) -> GenerationCall:
    """Understand a request body. Raises InvalidRequestError."""
    fields = validate_fields(CompletionFields, body, RULES)
    prompts = _parse_prompts(fields.prompt)
    if fields.echo and fields.logprobs is not None:
        raise InvalidRequestError("echo together with logprobs is not supported", "echo")
    head = AnswerHead.make("cmpl", fields.model)
    sampling = fields.sampling(logprobs=("logprobs", fields.logprobs))
    shared = fields.shared()
    requests = tuple(
        GenerationRequest(
            request_id=head.id if len(prompts) == 1 else f"{head.id}-{i}",
            prompt=prompt,
            sampling=sampling,
            echo=fields.echo,
            default_max_tokens=DEFAULT_MAX_TOKENS,
            **shared,
        )
        for i, prompt in enumerate(prompts)
    )
    return GenerationCall(
        model=fields.model,
        prompts=requests,
        num_choices=sampling.get("n", 1),
        stream=fields.stream,
        renderer=_CompletionRenderer(head, has_usage_chunk=fields.has_usage_chunk()),
    )


def _parse_prompts(prompt: object) -> list[Prompt]:
    """One prompt, or several: a string or token ids, or a list of either."""
    if isinstance(prompt, str):
        return [_text(prompt, "prompt")]
    if not isinstance(prompt, list):
        _fail("prompt", "must be a string, token ids, or a list of either", prompt)
    if not prompt:
        raise InvalidRequestError("prompt is empty", "prompt")
    if isinstance(prompt[0], int):
        return [_token_ids(prompt, "prompt")]
    if len(prompt) > MAX_PROMPTS:
        problem = f"prompt has {len(prompt)} prompts; at most {MAX_PROMPTS} are possible"
        raise InvalidRequestError(problem, "prompt")
    parse = _token_ids if isinstance(prompt[0], list) else _text
    return [parse(item, f"prompt[{i}]") for i, item in enumerate(prompt)]


def _text(prompt: object, where: str) -> str:
    if not isinstance(prompt, str):
        _fail(where, "must be a string", prompt)
    if not prompt:
        raise InvalidRequestError(f"{where} is empty", "prompt")
    return prompt


def _token_ids(prompt: object, where: str) -> tuple[int, ...]:
    if not isinstance(prompt, list):
        _fail(where, "must be a list of token ids", prompt)
    if not prompt:
        raise InvalidRequestError(f"{where} is empty", "prompt")
    # Not one by one: there may be millions.
    if set(map(type, prompt)) != {int} or min(prompt) < 0 or max(prompt) > MAX_TOKEN_ID:
        for i, token_id in enumerate(prompt):
            if type(token_id) is not int or not 0 <= token_id <= MAX_TOKEN_ID:
                _fail(f"{where}[{i}]", "must be a token id", token_id)
    return tuple(prompt)


def _fail(where: str, expected: str, found: object) -> NoReturn:
    raise InvalidRequestError(f"{where} {expected}, found {describe_value(found)}", "prompt")


class _CompletionRenderer(ChoicesRenderer):
    """Writes the answer to one text completion."""

    whole_object = "text_completion"
    chunk_object = "text_completion"

    def __init__(self, head: AnswerHead, *, has_usage_chunk: bool) -> None:
        super().__init__(head, has_usage_chunk=has_usage_chunk)
        self._text_offsets: defaultdict[int, int] = defaultdict(int)

    def chunk(self, chunk: TextChunk) -> bytes | None:
        if not (chunk.text or chunk.finish_reason or chunk.logprobs):
            return None
        logprobs = "null"
        if chunk.logprobs is not None:
            offset = self._text_offsets[chunk.index]
            logprobs = json.dumps(_logprobs(chunk.logprobs, offset))
            self._text_offsets[chunk.index] += sum(len(token.token) for token in chunk.logprobs)
        text = f'"text":{json_string(chunk.text)}'
        return self._frame.event(chunk.index, text, logprobs, chunk.finish_reason)

    def choice(self, index: int, choice: Choice) -> dict[str, Any]:
        return {
            "index": index,
            "text": choice.text,
            "logprobs": None if choice.logprobs is None else _logprobs(choice.logprobs, 0),
            "finish_reason": choice.finish_reason,
        }


def _logprobs(tokens: Sequence[TokenLogprobs], offset: int) -> dict[str, Any]:
    """The older form: parallel lists. `offset` is where the first token starts in the text."""
    text_offset = []
    for token in tokens:
        text_offset.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [finite_logprob(token.logprob) for token in tokens],
        "top_logprobs": [_likeliest(token) for token in tokens],
        "text_offset": text_offset,
    }


def _likeliest(token: TokenLogprobs) -> dict[str, float]:
    """The alternatives, and the chosen token too, which may not be one of them."""
    return {
        **{likely.token: finite_logprob(likely.logprob) for likely in token.top},
        token.token: finite_logprob(token.logprob),
    }
