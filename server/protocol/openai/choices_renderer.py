"""Writes the answers of chat/completions and completions: lists of choices."""

import json
import time
import uuid
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from server.payloads import FinishReason, TextChunk
from server.protocol.generation_call import Choice, Renderer, Usage, usage_of
from server.protocol.json_text import json_bytes

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
    such list.
    """

    num_choices: int = 1
    has_usage_chunk: bool = False
    has_continuous_usage: bool = False
    num_prompt_logprobs: int | None = None


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


class ChoicesRenderer(Renderer):
    """What the renderers of chat/completions and completions share."""

    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, head: AnswerHead, style: AnswerStyle) -> None:
        self._head = head
        self._style = style
        self._frame = StreamFrame(head, self.chunk_object, has_usage_chunk=style.has_usage_chunk)
        self._last_chunks: dict[int, TextChunk] = {}

    def usage_so_far(self, chunk: TextChunk) -> Usage | None:
        """The token counts up to this chunk, if every event has them."""
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
        """The token counts, if the client asked for them, and [DONE]."""
        return (self._frame.usage_event(usage) or b"") + DONE

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """The error without [DONE], which would mean success."""
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
