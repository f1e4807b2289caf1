"""The answers of /responses: one response object, or the events of OpenAI's stream."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.payloads import FinishReason, TextChunk, ToolCallDelta
from server.protocol.generation_call import Choice, LogprobLists, Renderer, Usage
from server.protocol.json_text import JsonItems, json_pieces
from server.protocol.openai.logprobs import describe_logprobs
from server.protocol.responses.response_events import (
    Events,
    FunctionCallWriter,
    ItemWriter,
    MessageWriter,
    ReasoningWriter,
    new_id,
)
from server.protocol.responses.response_object import (
    ErrorCode,
    FunctionCall,
    IncompleteDetails,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningText,
    ResponseError,
    ResponseObject,
    ResponseUsage,
    Status,
)

__all__ = ["ResponseRenderer"]


class ResponseRenderer(Renderer):
    """Writes the answer to one request; `response` has the members known from the start."""

    def __init__(self, response: ResponseObject) -> None:
        self._response = response
        self._stream: _OutputStream | None = None
        self._events = Events()
        self._choice = Choice()

    def chunk(self, chunk: TextChunk) -> bytes | None:
        """The stream starts with the first text, so that earlier errors get an error status."""
        self._choice.add(chunk)
        is_parsed = bool(chunk.reasoning or chunk.tool_calls)
        if not (chunk.text or is_parsed or chunk.finish_reason):
            return None
        events = b""
        if self._stream is None:
            self._stream = _OutputStream(self._events)
            events += self._lifecycle("created") + self._lifecycle("in_progress")
        return events + self._stream.add(chunk)

    def end(self, usage: Usage) -> bytes:
        assert self._stream is not None
        status = _status(self._choice.finish_reason)
        events = self._stream.end(status)
        self._finish(status, self._stream.items, usage, self._choice)
        return events + self._lifecycle(status)

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """The stream ends with a failed response, which clients wait for."""
        is_ours = error["type"] != "invalid_request_error"
        code: ErrorCode = "server_error" if is_ours else "invalid_prompt"
        self._response.error = ResponseError(code=code, message=error["message"])
        self._response.status = "failed"
        return self._lifecycle("failed")

    def new_choice(self) -> Choice:
        return Choice(_keep_logprobs)

    def whole(self, choices: Sequence[Choice], usage: Usage) -> Iterator[bytes]:
        (choice,) = choices
        status = _status(choice.finish_reason)
        self._finish(status, _output(choice, status), usage, choice)
        return json_pieces(self._response.model_dump())

    def _finish(
        self, status: Status, output: list[OutputItem], usage: Usage, choice: Choice
    ) -> None:
        self._response.status = status
        self._response.output = output
        self._response.usage = ResponseUsage.make(usage, choice.num_reasoning_tokens)
        if status == "completed":
            self._response.completed_at = int(time.time())
        else:
            self._response.incomplete_details = IncompleteDetails()

    def _lifecycle(self, name: str) -> bytes:
        return self._events.make(f"response.{name}", response=self._response.model_dump())


class _OutputStream:
    """The output items of a stream, one after the other; `items` has the finished ones."""

    def __init__(self, events: Events) -> None:
        self.items: list[OutputItem] = []
        self._events = events
        self._open: ItemWriter | None = None

    def add(self, chunk: TextChunk) -> bytes:
        """The events of what is new."""
        events = b""
        if chunk.reasoning:
            events += self._switch(ReasoningWriter)
            assert isinstance(self._open, ReasoningWriter)
            events += self._open.add(chunk.reasoning)
        if chunk.text:
            events += self._switch(MessageWriter)
            assert isinstance(self._open, MessageWriter)
            events += self._open.add(chunk)
        return events + b"".join(map(self._add_call, chunk.tool_calls))

    def end(self, status: Status) -> bytes:
        """The events that end the last item, an empty message if there was no output."""
        events = b""
        if self._open is None:
            events = self._switch(MessageWriter)
        return events + self._close(status)

    def _switch(self, kind: type[MessageWriter] | type[ReasoningWriter]) -> bytes:
        """Make sure that an item of that kind is open."""
        if isinstance(self._open, kind):
            return b""
        return self._start(kind(self._events, self._next_index()))

    def _add_call(self, delta: ToolCallDelta) -> bytes:
        events = b""
        if not (isinstance(self._open, FunctionCallWriter) and self._open.index == delta.index):
            events = self._start(FunctionCallWriter(self._events, self._next_index(), delta))
        assert isinstance(self._open, FunctionCallWriter)
        return events + self._open.add(delta.arguments) if delta.arguments else events

    def _next_index(self) -> int:
        return len(self.items) + (self._open is not None)

    def _start(self, writer: ItemWriter) -> bytes:
        events = b"" if self._open is None else self._close("completed")
        self._open = writer
        return events + writer.open()

    def _close(self, status: Status) -> bytes:
        assert self._open is not None
        item, events = self._open.close(status)
        self._open = None
        self.items.append(item)
        return events


def _keep_logprobs(chunk: TextChunk, lists: LogprobLists) -> None:
    """Only those of the text are shown, not of reasoning and tool calls."""
    if chunk.text and chunk.logprobs:
        lists.setdefault("text", JsonItems()).add(describe_logprobs(chunk.logprobs))


def _output(choice: Choice, status: Status) -> list[OutputItem]:
    """The items of an answer in one piece; only the last can be incomplete."""
    items: list[OutputItem] = []
    if choice.reasoning:
        content = [ReasoningText(text=choice.reasoning)]
        items.append(ReasoningItem(id=new_id("rs"), status="completed", content=content))
    if choice.text or not (items or choice.tool_calls):
        text = OutputText(text=choice.text, logprobs=choice.logprobs.get("text", []))
        items.append(OutputMessage(id=new_id("msg"), status="completed", content=[text]))
    for call in choice.tool_calls:
        items.append(
            FunctionCall(
                id=new_id("fc"),
                status="completed",
                call_id=call.id,
                name=call.name,
                arguments=call.arguments,
            )
        )
    items[-1].status = status
    return items


def _status(finish_reason: FinishReason | None) -> Status:
    return "incomplete" if finish_reason == "length" else "completed"
