"""A parsed request for text: what to run, and what writes the answer."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.errors import InvalidRequestError
from server.payloads import (
    FinishReason,
    GenerationRequest,
    TextChunk,
    TokenLogprobs,
    ToolCallDelta,
)
from server.protocol.field_rules import NO_FIELDS, UnknownFields
from server.protocol.json_text import JsonItems

__all__ = [
    "Choice",
    "GenerationCall",
    "LogprobLists",
    "Renderer",
    "ToolCall",
    "Usage",
    "usage_of",
]

Usage = Mapping[str, Any]

LogprobLists = dict[str, JsonItems]
"""Log probabilities as an answer has them: lists by name; empty where there are none."""


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
    """One choice of an answer, put together from its chunks.

    `keep_logprobs` adds what an answer has of the log probabilities of a chunk.
    """

    keep_logprobs: Callable[[TextChunk, LogprobLists], None] | None = None
    parts: list[str] = field(default_factory=list)
    reasoning_parts: list[str] = field(default_factory=list)
    num_reasoning_tokens: int = 0
    token_ids: list[int] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: LogprobLists = field(default_factory=dict)
    prompt_logprobs: Collection[TokenLogprobs] | None = None
    last: TextChunk | None = None
    first_chunk_s: float | None = None

    def add(self, chunk: TextChunk) -> None:
        """Append a chunk."""
        if self.first_chunk_s is None:
            self.first_chunk_s = time.monotonic()
        self.parts.append(chunk.text)
        self.token_ids.extend(chunk.token_ids)
        if chunk.reasoning:
            self.reasoning_parts.append(chunk.reasoning)
            self.num_reasoning_tokens += len(chunk.token_ids)
        for delta in chunk.tool_calls:
            self._add_tool_call(delta)
        if self.keep_logprobs is not None:
            self.keep_logprobs(chunk, self.logprobs)
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


class Renderer(ABC):
    """How an endpoint writes its answer; one object per request."""

    @abstractmethod
    def chunk(self, chunk: TextChunk) -> bytes | None:
        """The server-sent events of a chunk; None if there is nothing to show yet."""

    @abstractmethod
    def end(self, usage: Usage) -> bytes:
        """The events that end a complete stream."""

    @abstractmethod
    def failure(self, error: Mapping[str, Any]) -> bytes:
        """The events that end a failed stream; `error` is OpenAI's error object."""

    def new_choice(self) -> Choice:
        """An empty choice for `whole`."""
        return Choice()

    @abstractmethod
    def whole(self, choices: Sequence[Choice], usage: Usage) -> Iterator[bytes]:
        """The answer that is no stream, in pieces that each take a few milliseconds."""


@dataclass(frozen=True, slots=True)
class GenerationCall:
    """A parsed HTTP request: what to run, and how to answer.

    Choice i of prompt p is number p * `num_choices` + i of the answer. `field_names` are the
    endpoint's names of fields that errors of the graph call otherwise.
    """

    model: str
    prompts: tuple[GenerationRequest, ...]
    num_choices: int
    stream: bool
    renderer: Renderer
    unknown_fields: UnknownFields = NO_FIELDS
    field_names: Mapping[str, str] = field(default_factory=dict)

    def with_own_names(self, error: InvalidRequestError) -> InvalidRequestError:
        """The error, in terms of this endpoint's fields."""
        return renamed(error, self.field_names)


def renamed(error: InvalidRequestError, names: Mapping[str, str]) -> InvalidRequestError:
    """The error with another name of the field that it is about."""
    name = names.get(error.param or "")
    if name is None:
        return error
    # The word "prompt" is right in a sentence, whatever the field is called.
    message = str(error)
    if error.param != "prompt":
        message = re.sub(rf"\b{error.param}\b", name, message)
    return type(error)(message, name)


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
