"""The answers of /responses: one response object, or the events of OpenAI's stream."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from server.api.protocol.answer import (
    Choice,
    Renderer,
    Usage,
    describe_logprobs,
    json_bytes,
    json_string,
)
from server.api.protocol.response_object import (
    ErrorCode,
    IncompleteDetails,
    OutputMessage,
    OutputText,
    ResponseError,
    ResponseObject,
    ResponseUsage,
    Status,
)
from server.payloads import FinishReason, TextChunk

__all__ = ["ResponseRenderer"]


class ResponseRenderer(Renderer):
    """Writes the answer to one request; `response` is what is known of it from the start."""

    def __init__(self, response: ResponseObject) -> None:
        self._response = response
        self._events = _Events()
        self._message: _MessageWriter | None = None
        self._output: list[OutputMessage] = []
        self._finish_reason: FinishReason | None = None

    def chunk(self, chunk: TextChunk) -> bytes | None:
        """The stream starts with the first text: what fails before it has a status of its own."""
        self._finish_reason = chunk.finish_reason
        if not (chunk.text or chunk.finish_reason or chunk.logprobs):
            return None
        events = b""
        if self._message is None:
            events += self._lifecycle("created") + self._lifecycle("in_progress")
            self._message = _MessageWriter(self._events, output_index=0)
            events += self._message.open()
        if chunk.text or chunk.logprobs:
            events += self._message.add(chunk)
        return events

    def end(self, usage: Usage) -> bytes:
        status = _status(self._finish_reason)
        events = b""
        if self._message is not None:
            item, events = self._message.close(status)
            self._output.append(item)
        self._finish(status, self._output, usage)
        return events + self._lifecycle(status)

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """A failed response is one of the ways in which a stream ends; clients read on to it."""
        is_ours = error["type"] != "invalid_request_error"
        code: ErrorCode = "server_error" if is_ours else "invalid_prompt"
        self._response.error = ResponseError(code=code, message=error["message"])
        self._response.status = "failed"
        return self._lifecycle("failed")

    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        (choice,) = choices
        status = _status(choice.finish_reason)
        logprobs = describe_logprobs(choice.logprobs or ())
        text = OutputText(text=choice.text, logprobs=logprobs)
        message = OutputMessage(id=_new_id("msg"), status=status, content=[text])
        self._finish(status, [message], usage)
        return json_bytes(self._response.model_dump())

    def _finish(self, status: Status, output: list[OutputMessage], usage: Usage) -> None:
        self._response.status = status
        self._response.output = output
        self._response.usage = ResponseUsage.make(usage, num_reasoning_tokens=0)
        if status == "completed":
            self._response.completed_at = int(time.time())
        else:
            self._response.incomplete_details = IncompleteDetails()

    def _lifecycle(self, name: str) -> bytes:
        return self._events.make(f"response.{name}", response=self._response.model_dump())


class _Events:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._num_made = 0

    def make(self, kind: str, **members: Any) -> bytes:
        """An event."""
        return self.splice(kind, json.dumps(members, separators=(",", ":"))[1:-1])

    def splice(self, kind: str, members: str) -> bytes:
        """An event whose own members are JSON already."""
        number = self._num_made
        self._num_made += 1
        head = f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":{number}'
        return f"{head},{members}}}\n\n".encode()


class _MessageWriter:
    """The events of one output message, which has one part, a text."""

    def __init__(self, events: _Events, output_index: int) -> None:
        self._events = events
        self._item = {"output_index": output_index}
        self._id = _new_id("msg")
        self._part = {"item_id": self._id, **self._item, "content_index": 0}
        self._members = json.dumps(self._part, separators=(",", ":"))[1:-1]
        self._texts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def open(self) -> bytes:
        """The events before the text."""
        message = OutputMessage(id=self._id, status="in_progress", content=[])
        part = OutputText(text="")
        return self._events.make(
            "response.output_item.added", **self._item, item=message.model_dump()
        ) + self._events.make("response.content_part.added", **self._part, part=part.model_dump())

    def add(self, chunk: TextChunk) -> bytes:
        """The event of new text."""
        self._texts.append(chunk.text)
        logprobs = "[]"
        if chunk.logprobs:
            described = describe_logprobs(chunk.logprobs)
            self._logprobs += described
            logprobs = json.dumps(described)
        delta = f'"delta":{json_string(chunk.text)},"logprobs":{logprobs}'
        return self._events.splice("response.output_text.delta", f"{self._members},{delta}")

    def close(self, status: Status) -> tuple[OutputMessage, bytes]:
        """The finished message, and the events after the text."""
        part = OutputText(text="".join(self._texts), logprobs=self._logprobs)
        message = OutputMessage(id=self._id, status=status, content=[part])
        events = (
            self._events.make(
                "response.output_text.done", **self._part, text=part.text, logprobs=part.logprobs
            ),
            self._events.make("response.content_part.done", **self._part, part=part.model_dump()),
            self._events.make("response.output_item.done", **self._item, item=message.model_dump()),
        )
        return message, b"".join(events)


def _status(finish_reason: FinishReason | None) -> Status:
    return "incomplete" if finish_reason == "length" else "completed"


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
