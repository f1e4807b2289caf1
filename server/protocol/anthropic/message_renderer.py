"""The answers of /messages: one message, or the events of Anthropic's stream."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.payloads import TextChunk, ToolCallDelta
from server.protocol.anthropic.message_object import (
    SIGNATURE,
    ContentBlock,
    MessageObject,
    MessageUsage,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    error_message,
)
from server.protocol.generation_call import Choice, Renderer, ToolCall, Usage, usage_of
from server.protocol.json_text import json_bytes, json_pieces, json_string

__all__ = ["MessageRenderer"]

STOP_REASONS: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
}
# OpenAI's type of an error that comes in mid-stream -> the HTTP status that it would have had.
STATUSES = {"invalid_request_error": 400, "service_unavailable": 503}


class MessageRenderer(Renderer):
    """Writes the answer to one request, which asked for at most `max_tokens`."""

    def __init__(self, message_id: str, model: str, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._id = message_id
        self._model = model
        self._blocks: _BlockStream | None = None
        self._choice = Choice()

    def chunk(self, chunk: TextChunk) -> bytes | None:
        """The stream starts with the first text, so that earlier errors get an error status."""
        self._choice.add(chunk)
        if not (chunk.text or chunk.reasoning or chunk.tool_calls or chunk.finish_reason):
            return None
        events = b""
        if self._blocks is None:
            self._blocks = _BlockStream()
            events = _event("message_start", message=self._start(chunk))
        return events + self._blocks.add(chunk)

    def end(self, usage: Usage) -> bytes:
        assert self._blocks is not None
        counts = MessageUsage.make(usage, self._choice.num_reasoning_tokens).model_dump()
        delta = _event("message_delta", delta=self._stop_members(self._choice), usage=counts)
        return self._blocks.end() + delta + _event("message_stop")

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """Anthropic's error event, which ends a stream."""
        body = error_message(STATUSES.get(error["type"], 500), error["message"])
        return b"event: error\ndata: " + json_bytes(body) + b"\n\n"

    def whole(self, choices: Sequence[Choice], usage: Usage) -> Iterator[bytes]:
        (choice,) = choices
        message = MessageObject(
            id=self._id,
            model=self._model,
            content=_content(choice),
            usage=MessageUsage.make(usage, choice.num_reasoning_tokens),
            **self._stop_members(choice),
        )
        return json_pieces(message.model_dump())

    def _stop_members(self, choice: Choice) -> dict[str, Any]:
        last = choice.last
        assert last is not None
        reason = STOP_REASONS[last.finish_reason or "stop"]
        if reason == "end_turn" and last.stop_reason is not None:
            reason = "stop_sequence"
        if reason == "max_tokens" and last.num_completion_tokens < self._max_tokens:
            reason = "model_context_window_exceeded"
        is_sequence = reason == "stop_sequence"
        return {
            "stop_reason": reason,
            "stop_sequence": last.stop_reason if is_sequence else None,
        }

    def _start(self, chunk: TextChunk) -> dict[str, Any]:
        usage = MessageUsage.make(usage_of({0: chunk}, 1))
        return MessageObject(id=self._id, model=self._model, usage=usage).model_dump()


class _BlockStream:
    """The blocks of a stream, one after the other."""

    def __init__(self) -> None:
        self._num_blocks = 0
        # "text", "thinking", the index of a tool call, or None before the first block.
        self._open: str | int | None = None

    def add(self, chunk: TextChunk) -> bytes:
        """The events of what is new."""
        events = b""
        if chunk.reasoning:
            events += self._switch("thinking", ThinkingBlock(thinking="", signature=""))
            events += self._delta("thinking_delta", "thinking", chunk.reasoning)
        if chunk.text:
            events += self._switch("text", TextBlock(text=""))
            events += self._delta("text_delta", "text", chunk.text)
        return events + b"".join(map(self._add_call, chunk.tool_calls))

    def end(self) -> bytes:
        """The events that end the last block, an empty text if there was no output."""
        events = b"" if self._num_blocks else self._switch("text", TextBlock(text=""))
        return events + self._close()

    def _add_call(self, delta: ToolCallDelta) -> bytes:
        block = ToolUseBlock(id=delta.id or "", name=delta.name or "", input={})
        events = self._switch(delta.index, block)
        if delta.arguments:
            events += self._delta("input_json_delta", "partial_json", delta.arguments)
        return events

    def _switch(self, kind: str | int, block: ContentBlock) -> bytes:
        """Make sure that this block is open."""
        if self._open == kind:
            return b""
        events = self._close()
        self._open = kind
        self._num_blocks += 1
        place = self._num_blocks - 1
        return events + _event("content_block_start", index=place, content_block=block.model_dump())

    def _delta(self, kind: str, member: str, text: str) -> bytes:
        head = f'{{"type":"content_block_delta","index":{self._num_blocks - 1}'
        delta = f'"delta":{{"type":"{kind}","{member}":{json_string(text)}}}'
        return f"event: content_block_delta\ndata: {head},{delta}}}\n\n".encode()

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        events = b""
        if self._open == "thinking":
            events = self._delta("signature_delta", "signature", SIGNATURE)
        self._open = None
        return events + _event("content_block_stop", index=self._num_blocks - 1)


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + json_bytes({"type": kind, **members}) + b"\n\n"


def _content(choice: Choice) -> list[ContentBlock]:
    """The blocks of an answer in one piece."""
    blocks: list[ContentBlock] = []
    if choice.reasoning:
        blocks.append(ThinkingBlock(thinking=choice.reasoning))
    if choice.text or not (blocks or choice.tool_calls):
        blocks.append(TextBlock(text=choice.text))
    return blocks + [_tool_use(call) for call in choice.tool_calls]


def _tool_use(call: ToolCall) -> ToolUseBlock:
    """The arguments as an object; empty for a call that max_tokens cut off."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    return ToolUseBlock(
        id=call.id, name=call.name, input=arguments if isinstance(arguments, dict) else {}
    )
