"""Writes the answers of chat/completions and completions: lists of choices."""

import json
import time
import uuid
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from server.payloads import FinishReason, TextChunk, TokenLogprobs
from server.protocol.generation_call import Choice, LogprobLists, Renderer, Usage, usage_of
from server.protocol.json_text import json_bytes, json_pieces
from server.protocol.openai.logprobs import name_token_id
from server.protocol.openai.request_clock import RequestClock

__all__ = ["AnswerHead", "AnswerStyle", "ChoicesRenderer"]

DONE = b"data: [DONE]\n\n"


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


@dataclass(frozen=True, slots=True)
class AnswerStyle:
    """What a client wants to see in its answer.

    `num_prompt_logprobs` is the number of alternatives for each token of the prompt; None for no
    such list. With `names_token_ids`, log probabilities name tokens by their ids. The metrics are
    vLLM's, the timings llama.cpp's.
    """

    num_choices: int = 1
    has_usage_chunk: bool = False
    has_continuous_usage: bool = False
    num_prompt_logprobs: int | None = None
    has_token_ids: bool = False
    names_token_ids: bool = False
    has_metrics: bool = False
    has_timings: bool = False
    has_continuous_timings: bool = False


class StreamFrame:
    """The JSON that is the same in every event of a stream, made once."""

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
        members: Mapping[str, Any],
    ) -> bytes:
        """An event with one choice; `content` and `logprobs` are JSON.

        `members` stand beside the choices.
        """
        finish = "null" if finish_reason is None else f'"{finish_reason}"'
        after = self._after
        if members:
            beside = {"usage": None, **members} if self._has_usage_chunk else members
            after = f"}}],{json.dumps(beside, separators=(',', ':'))[1:]}\n\n"
        return (
            f'{self._before}{index},{content},"logprobs":{logprobs},"finish_reason":{finish}{after}'
        ).encode()

    def last_event(self, usage: Usage, members: Mapping[str, Any]) -> bytes:
        """The event without a choice that ends a stream; nothing if the client wants none."""
        beside = {"usage": usage, **members} if self._has_usage_chunk else members
        if not beside:
            return b""
        rest = json.dumps(beside, separators=(",", ":"))[1:]
        return f'{self._start},"choices":[],{rest}\n\n'.encode()


class ChoicesRenderer(Renderer):
    """What the renderers of chat/completions and completions share."""

    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, head: AnswerHead, style: AnswerStyle) -> None:
        self._head = head
        self._style = style
        self._frame = StreamFrame(head, self.chunk_object, has_usage_chunk=style.has_usage_chunk)
        self._last_chunks: dict[int, TextChunk] = {}
        self._clock = RequestClock()

    def event(self, chunk: TextChunk, content: str, logprobs: str) -> bytes:
        """The event of a chunk, with the counts and times so far if every event has them."""
        self._clock.note_chunk()
        members: dict[str, Any] = {}
        style = self._style
        if style.has_continuous_usage or style.has_continuous_timings:
            self._last_chunks[chunk.index] = chunk
            usage = usage_of(self._last_chunks, style.num_choices)
            if style.has_continuous_usage:
                members["usage"] = usage
            if style.has_continuous_timings:
                members["timings"] = self._clock.timings(usage)
        return self._frame.event(chunk.index, content, logprobs, chunk.finish_reason, members)

    def shown_token_ids(self, chunk: TextChunk) -> Sequence[int] | None:
        """The token ids of a chunk, if the client asked for them."""
        return chunk.token_ids if self._style.has_token_ids else None

    def token_id_members(self, choice: Choice) -> dict[str, Any]:
        """The token ids as a member of a choice, if the client asked for them."""
        return {"token_ids": choice.token_ids} if self._style.has_token_ids else {}

    def shown_tokens(self, tokens: Iterable[TokenLogprobs]) -> Iterable[TokenLogprobs]:
        """The tokens as log probabilities name them."""
        return map(name_token_id, tokens) if self._style.names_token_ids else tokens

    def _time_members(self, usage: Usage) -> dict[str, Any]:
        members = {}
        if self._style.has_metrics:
            members["metrics"] = self._clock.metrics(usage)
        if self._style.has_timings:
            members["timings"] = self._clock.timings(usage)
        return members

    @abstractmethod
    def choice(self, index: int, choice: Choice) -> dict[str, Any]:
        """A choice of the answer in one piece."""

    @abstractmethod
    def keep_logprobs(self, chunk: TextChunk, lists: LogprobLists) -> None:
        """Add the log probabilities of a chunk to the lists of its choice."""

    def new_choice(self) -> Choice:
        return Choice(self.keep_logprobs)

    def whole_members(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Further members of an answer in one piece."""
        return {}

    def end(self, usage: Usage) -> bytes:
        """The token counts and times, if the client asked for them, and [DONE]."""
        return self._frame.last_event(usage, self._time_members(usage)) + DONE

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """The error without [DONE], which would mean success."""
        return b"data: " + json_bytes({"error": error}) + b"\n\n"

    def whole(self, choices: Sequence[Choice], usage: Usage) -> Iterator[bytes]:
        for choice in choices:
            self._clock.note_chunk(choice.first_chunk_s)
        return json_pieces(
            {
                **self._head.as_dict(self.whole_object),
                "choices": [self.choice(index, choice) for index, choice in enumerate(choices)],
                "usage": usage,
                **self.whole_members(choices),
                **self._time_members(usage),
            }
        )
