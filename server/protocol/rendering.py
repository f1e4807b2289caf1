"""The pieces that every answer of a text model is made of."""

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar

from server.payloads import (
    FinishReason,
    GenerationRequest,
    TextChunk,
    TokenLogprobs,
    ToolCallDelta,
)

__all__ = [
    "AnswerHead",
    "AnswerStyle",
    "Choice",
    "ChoicesRenderer",
    "GenerationCall",
    "Renderer",
    "StreamFrame",
    "ToolCall",
    "Usage",
    "describe_logprobs",
    "describe_prompt_logprobs",
    "finite_logprob",
    "json_bytes",
    "json_string",
    "usage_of",
]

# In ASCII on purpose: some clients split an event stream at U+2028 and U+0085 too.
json_string = encode_basestring_ascii

DONE = b"data: [DONE]\n\n"

# JSON has no infinity; this is what OpenAI sends for a token that could not be chosen.
LOWEST_LOGPROB = -9999.0

Usage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The members that every piece of one answer repeats."""

    id: str
    model: str
    created: int

    @classmethod
    def make(cls, id_prefix: str, model: str) -> "AnswerHead":
        """Head of a new answer."""
        return cls(f"{id_prefix}-{uuid.uuid4().hex}", model, int(time.time()))

    def as_dict(self, object_name: str) -> dict[str, Any]:
        """The members in OpenAI's order."""
        return {"id": self.id, "object": object_name, "created": self.created, "model": self.model}


@dataclass(slots=True)
class ToolCall:
    """One tool call of a choice, put together from its pieces."""

    id: str
    name: str
    arguments_parts: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """The arguments so far: the text of a JSON object."""
        return "".join(self.arguments_parts)


@dataclass(slots=True)
class Choice:
    """One choice of an answer, put together from its chunks."""

    parts: list[str] = field(default_factory=list)
    reasoning_parts: list[str] = field(default_factory=list)
    num_reasoning_tokens: int = 0
    token_ids: list[int] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprobs] | None = None
    text_logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None
    last: TextChunk | None = None

    def add(self, chunk: TextChunk) -> None:
        """Append a chunk."""
        self.parts.append(chunk.text)
        self.token_ids.extend(chunk.token_ids)
        if chunk.reasoning:
            self.reasoning_parts.append(chunk.reasoning)
            self.num_reasoning_tokens += len(chunk.token_ids)
        for delta in chunk.tool_calls:
            self._add_tool_call(delta)
        if chunk.logprobs is not None:
            self.logprobs = self.logprobs or []
            self.logprobs.extend(chunk.logprobs)
            # Those of reasoning and tool calls have no place where these are items of their own.
            self.text_logprobs.extend(chunk.logprobs if chunk.text else ())
        if chunk.prompt_logprobs is not None:
            self.prompt_logprobs = chunk.prompt_logprobs
        self.last = chunk

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self.reasoning_parts)

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended; None while it has not."""
        return None if self.last is None else self.last.finish_reason

    def _add_tool_call(self, delta: ToolCallDelta) -> None:
        if delta.id is not None:
            self.tool_calls.append(ToolCall(delta.id, delta.name or ""))
        self.tool_calls[delta.index].arguments_parts.append(delta.arguments)


class StreamFrame:
    """What is the same around every event of one stream, turned into JSON once."""

    def __init__(self, head: AnswerHead, object_name: str, *, has_usage_chunk: bool) -> None:
        members = json.dumps(head.as_dict(object_name), separators=(",", ":"))[:-1]
        self._start = f"data: {members}"
        self._before = f'{self._start},"choices":[{{"index":'
        self._after = '}],"usage":null}\n\n' if has_usage_chunk else "}]}\n\n"
        self._has_usage_chunk = has_usage_chunk

    def event(
        self,
        index: int,
        content: str,
        logprobs: str,
        finish_reason: FinishReason | None,
        usage: Usage | None = None,
    ) -> bytes:
        """An event with one choice; `content` and `logprobs` are JSON."""
        finish = "null" if finish_reason is None else f'"{finish_reason}"'
        after = self._after
        if usage is not None:
            after = f'}}],"usage":{json.dumps(usage, separators=(",", ":"))}}}\n\n'
        return (
            f'{self._before}{index},{content},"logprobs":{logprobs},"finish_reason":{finish}{after}'
        ).encode()

    def usage_event(self, usage: Usage) -> bytes | None:
        """The event without a choice that ends a stream, if the client asked for it."""
        if not self._has_usage_chunk:
            return None
        counts = json.dumps(usage, separators=(",", ":"))
        return f'{self._start},"choices":[],"usage":{counts}}}\n\n'.encode()


class Renderer(ABC):
    """How an endpoint writes its answer; one object per request."""

    @abstractmethod
    def chunk(self, chunk: TextChunk) -> bytes | None:
        """The server-sent events of a chunk; None where it has nothing to show yet."""

    @abstractmethod
    def end(self, usage: Usage) -> bytes:
        """The events that end a stream which is complete."""

    @abstractmethod
    def failure(self, error: Mapping[str, Any]) -> bytes:
        """The events that end a stream which breaks off; `error` is OpenAI's error object."""

    @abstractmethod
    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        """The answer in one piece."""


@dataclass(frozen=True, slots=True)
class AnswerStyle:
    """What a client wants to see in its answer.

    `num_prompt_logprobs` are the alternatives at each place of the prompt, None for no such list.
    """

    num_choices: int = 1
    has_usage_chunk: bool = False
    has_continuous_usage: bool = False
    num_prompt_logprobs: int | None = None


class ChoicesRenderer(Renderer):
    """Writes answers that are a list of choices, as chat/completions and completions do."""

    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, head: AnswerHead, style: "AnswerStyle") -> None:
        self._head = head
        self._style = style
        self._frame = StreamFrame(head, self.chunk_object, has_usage_chunk=style.has_usage_chunk)
        self._last_chunks: dict[int, TextChunk] = {}

    def usage_so_far(self, chunk: TextChunk) -> Usage | None:
        """The token counts with this chunk, where every event has them."""
        if not self._style.has_continuous_usage:
            return None
        self._last_chunks[chunk.index] = chunk
        return usage_of(self._last_chunks, self._style.num_choices)

    @abstractmethod
    def choice(self, index: int, choice: Choice) -> dict[str, Any]:
        """A choice of the answer in one piece."""

    def whole_members(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Further members of an answer in one piece."""
        return {}

    def end(self, usage: Usage) -> bytes:
        """The token counts, if the client asked for them, and the mark that all went well."""
        return (self._frame.usage_event(usage) or b"") + DONE

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """The error alone: [DONE] would say that all is well."""
        return b"data: " + json_bytes({"error": error}) + b"\n\n"

    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        return json_bytes(
            {
                **self._head.as_dict(self.whole_object),
                "choices": [self.choice(index, choice) for index, choice in enumerate(choices)],
                "usage": usage,
                **self.whole_members(choices),
            }
        )


@dataclass(frozen=True, slots=True)
class GenerationCall:
    """An HTTP request that was understood: what to run, and how to answer.

    Choice i of prompt p is number p * `num_choices` + i of the answer.
    """

    model: str
    prompts: tuple[GenerationRequest, ...]
    num_choices: int
    stream: bool
    renderer: Renderer


def usage_of(last_chunks: Mapping[int, TextChunk], num_choices: int) -> Usage:
    """Token counts from the last chunk of each choice; prompts are counted once."""
    prompts = {index // num_choices: chunk for index, chunk in last_chunks.items()}.values()
    num_prompt_tokens = sum(chunk.num_prompt_tokens for chunk in prompts)
    num_completion_tokens = sum(chunk.num_completion_tokens for chunk in last_chunks.values())
    return {
        "prompt_tokens": num_prompt_tokens,
        "completion_tokens": num_completion_tokens,
        "total_tokens": num_prompt_tokens + num_completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": sum(chunk.num_cached_tokens for chunk in prompts)
        },
    }


def finite_logprob(logprob: float | None) -> float | None:
    """A log probability that JSON can hold; also for NaN."""
    if logprob is None:
        return None
    return logprob if logprob > LOWEST_LOGPROB else LOWEST_LOGPROB


def describe_logprobs(tokens: Sequence[TokenLogprobs]) -> list[dict[str, Any]]:
    """OpenAI's newer form: an object for each token."""
    return [
        {
            **_describe_token(token),
            "top_logprobs": [_describe_token(likely) for likely in token.top],
        }
        for token in tokens
    ]


def describe_prompt_logprobs(
    tokens: Sequence[TokenLogprobs], num_top: int
) -> list[dict[str, Any] | None]:
    """vLLM's form: by token id, for each token of the prompt; null for the first one."""
    return [
        None
        if token.logprob is None
        else {str(t.token_id): _describe_decoded(t) for t in (*token.top[:num_top], token)}
        for token in tokens
    ]


def _describe_decoded(token: TokenLogprobs) -> dict[str, Any]:
    return {"logprob": finite_logprob(token.logprob), "decoded_token": token.token}


def _describe_token(token: TokenLogprobs) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": finite_logprob(token.logprob),
        "bytes": list(token.token_bytes),
    }


def json_bytes(value: object) -> bytes:
    """Compact JSON in ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
