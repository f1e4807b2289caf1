"""Prompts and answers as attributes of spans, which only OpenTelemetry's opt-in variable allows.

The form is that of the GenAI conventions: messages with parts
(https://github.com/open-telemetry/semantic-conventions-genai).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from server.payloads import GenerationRequest, TextChunk

__all__ = ["Answers", "input_messages"]

# Of one attribute; what is longer is cut.
MAX_CHARACTERS = 100_000


class _Budget:
    """Hands out text until so many characters are used up."""

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS

    def take(self, text: str) -> str:
        taken = text[: self._left]
        self._left -= len(taken)
        return taken


def input_messages(requests: Iterable[GenerationRequest]) -> str:
    """The prompts as JSON. Of images and sounds only their kind is told."""
    budget = _Budget()
    found = []
    for request in requests:
        for message in request.messages or ():
            parts = list(_parts(message, budget))
            found.append({"role": str(message.get("role", "")), "parts": parts})
        if isinstance(request.prompt, str):
            part = {"type": "text", "content": budget.take(request.prompt)}
            found.append({"role": "user", "parts": [part]})
    return json.dumps(found)


def _parts(message: Mapping[str, Any], budget: _Budget) -> Iterable[dict[str, object]]:
    content = message.get("content")
    for part in [content] if isinstance(content, str) else content or ():
        text = part if isinstance(part, str) else part.get("text")
        if isinstance(text, str):
            yield {"type": "text", "content": budget.take(text)}
        elif isinstance(part, Mapping):
            yield {"type": str(part.get("type", "unknown"))}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "tool_call",
            "id": call.get("id"),
            "name": function.get("name"),
            "arguments": budget.take(str(function.get("arguments", ""))),
        }


class Answers:
    """The answers of a request, put together from their pieces."""

    def __init__(self) -> None:
        self._budget = _Budget()
        # By the choice, then by the kind of the part and, of tool calls, their number.
        self._texts: dict[int, dict[tuple[str, int], list[str]]] = {}
        self._calls: dict[tuple[int, int], dict[str, object]] = {}
        self._finish_reasons: dict[int, str] = {}

    def add(self, chunk: TextChunk) -> None:
        """Add a piece of a choice."""
        self._add(chunk.index, "reasoning", 0, chunk.reasoning)
        self._add(chunk.index, "text", 0, chunk.text)
        for call in chunk.tool_calls:
            if call.name is not None:
                self._calls[chunk.index, call.index] = {"id": call.id, "name": call.name}
            self._add(chunk.index, "tool_call", call.index, call.arguments)
        if chunk.finish_reason is not None:
            self._finish_reasons[chunk.index] = chunk.finish_reason

    def _add(self, choice: int, kind: str, number: int, text: str) -> None:
        if text:
            texts = self._texts.setdefault(choice, {}).setdefault((kind, number), [])
            texts.append(self._budget.take(text))

    def output_messages(self) -> str:
        """The answers as JSON."""
        choices = sorted({*self._texts, *self._finish_reasons})
        return json.dumps([self._message(choice) for choice in choices])

    def _message(self, choice: int) -> dict[str, object]:
        parts = []
        for (kind, number), texts in self._texts.get(choice, {}).items():
            call = self._calls.get((choice, number), {}) if kind == "tool_call" else {}
            name = "arguments" if kind == "tool_call" else "content"
            parts.append({"type": kind, **call, name: "".join(texts)})
        finish_reason = self._finish_reasons.get(choice, "error")
        return {"role": "assistant", "parts": parts, "finish_reason": finish_reason}
