"""POST completions: JSON -> GenerationRequests, TextChunks -> JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from pydantic import ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import GenerationRequest, SamplingFields, TextChunk, TokenLogprobs
from server.protocol.field_table import COMPLETIONS
from server.protocol.generation_call import Choice, GenerationCall, LogprobLists
from server.protocol.json_text import JsonItems, batches, json_string, json_text
from server.protocol.openai.choices_fields import ChoicesFields
from server.protocol.openai.choices_renderer import AnswerHead, AnswerStyle, ChoicesRenderer
from server.protocol.openai.field_schemas import Prompt, ResponseFormat
from server.protocol.openai.generation_fields import Count, ranged
from server.protocol.openai.logprobs import describe_prompt_logprobs, finite_logprob
from server.protocol.openai.response_format import parse_response_format
from server.protocol.refusal import expect, refuse_value
from server.protocol.validation import validate_fields

__all__ = ["CompletionFields", "parse_completion"]

# Each prompt is a run of the graph; a request with more is taken for a mistake.
MAX_PROMPTS = 1024
MAX_TOKEN_ID = 2**31 - 1
# Each takes some hundred bytes of memory until the answer is sent.
MAX_PROMPT_LOGPROBS = 2**22

# OpenAI's default here; a chat answer goes on to its own end.
DEFAULT_MAX_TOKENS = 16

ParsedPrompt = str | tuple[int, ...]


class CompletionFields(ChoicesFields):
    """The fields of a text completion."""

    model_config = ConfigDict(json_schema_extra=COMPLETIONS.describe)

    prompt: Prompt
    max_tokens: Count | None = Field(None, ge=0)
    echo: bool = False
    logprobs: int | None = ranged("logprobs")
    response_format: ResponseFormat = None

    def completion_sampling(self) -> SamplingFields:
        """The sampling fields; with an echo, `logprobs` includes those of the prompt."""
        if self.max_tokens == 0 and not self.echo:
            raise InvalidRequestError("max_tokens is 0; it must be at least 1", "max_tokens")
        of_prompt = self.prompt_logprobs
        if self.echo and self.logprobs is not None:
            of_prompt = max(self.logprobs, of_prompt or 0)
        return self.sampling(logprobs=self.logprobs, prompt_logprobs=of_prompt)


def parse_completion(body: Mapping[str, Any]) -> GenerationCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(CompletionFields, body, COMPLETIONS)
    prompts = _parse_prompts(fields.prompt)
    head = AnswerHead.make("cmpl", fields.model)
    sampling = fields.completion_sampling()
    _check_prompt_logprobs(prompts, sampling)
    shared = fields.shared()
    unknown: list[str] = []
    response_format = parse_response_format(fields.response_format, unknown)
    answer_format = fields.answer_format(response_format, unknown)
    requests = tuple(
        GenerationRequest(
            request_id=head.id if len(prompts) == 1 else f"{head.id}-{i}",
            prompt=prompt,
            sampling=sampling,
            echo=fields.echo,
            default_max_tokens=DEFAULT_MAX_TOKENS,
            answer_format=answer_format,
            num_prompts=len(prompts),
            **shared,
        )
        for i, prompt in enumerate(prompts)
    )
    return GenerationCall(
        model=fields.model,
        prompts=requests,
        num_choices=sampling.get("n", 1),
        stream=fields.stream,
        renderer=_CompletionRenderer(
            head,
            fields.style(),
            num_echoed_logprobs=fields.logprobs if fields.echo else None,
        ),
        unknown_fields=COMPLETIONS.unknown_fields(fields, unknown),
    )


def _check_prompt_logprobs(prompts: Sequence[ParsedPrompt], sampling: SamplingFields) -> None:
    """The engine limits each prompt; this limits all prompts of an answer together."""
    num_top = sampling.get("prompt_logprobs")
    if num_top is None:
        return
    length = sum(map(len, prompts))
    if length * (1 + num_top) * sampling.get("n", 1) > MAX_PROMPT_LOGPROBS:
        raise InvalidRequestError(
            f"log probabilities of prompts that are {length} characters or tokens long together "
            f"are too many for one answer; length * (1 + alternatives) * n can be at most "
            f"{MAX_PROMPT_LOGPROBS}",
            "prompt",
        )


def _parse_prompts(prompt: object) -> list[ParsedPrompt]:
    """One prompt, or several: a string or token ids, or a list of either."""
    if isinstance(prompt, str):
        return [_text(prompt, "prompt")]
    if not isinstance(prompt, list):
        refuse_value("prompt", "must be a string, token ids, or a list of either", prompt)
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
    prompt = expect(str, prompt, where)
    if not prompt:
        raise InvalidRequestError(f"{where} is empty", "prompt")
    return prompt


def _token_ids(prompt: object, where: str) -> tuple[int, ...]:
    if not isinstance(prompt, list):
        refuse_value(where, "must be a list of token ids", prompt)
    if not prompt:
        raise InvalidRequestError(f"{where} is empty", "prompt")
    # Not one by one: there may be millions.
    if set(map(type, prompt)) != {int} or min(prompt) < 0 or max(prompt) > MAX_TOKEN_ID:
        for i, token_id in enumerate(prompt):
            if type(token_id) is not int or not 0 <= token_id <= MAX_TOKEN_ID:
                refuse_value(f"{where}[{i}]", "must be a token id", token_id)
    return tuple(prompt)


class _CompletionRenderer(ChoicesRenderer):
    """Writes the answer to one text completion."""

    whole_object = "text_completion"
    chunk_object = "text_completion"

    def __init__(
        self, head: AnswerHead, style: AnswerStyle, num_echoed_logprobs: int | None
    ) -> None:
        super().__init__(head, style)
        self._num_echoed_logprobs = num_echoed_logprobs

    def chunk(self, chunk: TextChunk) -> bytes | None:
        token_ids = self.shown_token_ids(chunk)
        if not (chunk.text or chunk.finish_reason or chunk.logprobs or token_ids):
            return None
        lists: LogprobLists = {}
        self.keep_logprobs(chunk, lists)
        text = f'"text":{json_string(chunk.text)}'
        if token_ids is not None:
            text += f',"token_ids":{json.dumps(token_ids)}'
        return self.event(chunk, text, json_text(lists or None))

    def choice(self, index: int, choice: Choice) -> dict[str, Any]:
        members = {
            "index": index,
            "text": choice.text,
            "logprobs": choice.logprobs or None,
            "finish_reason": choice.finish_reason,
            **self.token_id_members(choice),
        }
        num_top = self._style.num_prompt_logprobs
        if num_top is not None and choice.prompt_logprobs is not None:
            members["prompt_logprobs"] = describe_prompt_logprobs(choice.prompt_logprobs, num_top)
        return members

    def keep_logprobs(self, chunk: TextChunk, lists: LogprobLists) -> None:
        """Those of an echoed prompt come before those of the answer."""
        num_echoed = self._num_echoed_logprobs
        tokens: Iterable[TokenLogprobs] | None = chunk.logprobs
        if chunk.prompt_logprobs is not None and num_echoed is not None:
            echoed = (replace(t, top=t.top[:num_echoed]) for t in chunk.prompt_logprobs)
            tokens = chain(echoed, tokens or ())
        if tokens is not None:
            _keep(self.shown_tokens(tokens), lists)


def _keep(tokens: Iterable[TokenLogprobs], lists: LogprobLists) -> None:
    """Add tokens to the older form: parallel lists."""
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    texts, logprobs, likeliest, offsets = (lists.setdefault(n, JsonItems()) for n in names)
    for batch in batches(tokens):
        texts.add([token.token for token in batch])
        logprobs.add([finite_logprob(token.logprob) for token in batch])
        likeliest.add([_likeliest(token) for token in batch])
        offsets.add([token.text_offset for token in batch])


def _likeliest(token: TokenLogprobs) -> dict[str, float | None] | None:
    """The alternatives, and the token itself, which may not be one of them.

    Different tokens can have the same text, as parts of a character do; the likeliest is shown.
    """
    if token.logprob is None:
        return None
    named: dict[str, float | None] = {}
    for likely in (*token.top, token):
        named.setdefault(likely.token, finite_logprob(likely.logprob))
    return named
