"""The input of /responses: its items become the messages of a chat."""

from collections.abc import Callable, Mapping
from typing import Any

from server.errors import InvalidRequestError, did_you_mean
from server.protocol.refusal import expect, refuse_value

__all__ = ["parse_input"]

Message = dict[str, Any]
Item = Mapping[str, Any]

ROLES = ("user", "assistant", "system", "developer")
# Kinds of parts that are text, and the member with the text.
TEXT_PARTS = {
    "input_text": "text",
    "output_text": "text",
    # The name of chat completions.
    "text": "text",
    "refusal": "refusal",
}


def parse_input(source: object, instructions: str | None) -> tuple[Message, ...]:
    """The conversation. Raises InvalidRequestError."""
    conversation = _Conversation()
    if instructions:
        conversation.messages.append({"role": "system", "content": instructions})
    if isinstance(source, str):
        if not source:
            raise InvalidRequestError("input is empty", "input")
        conversation.messages.append({"role": "user", "content": source})
        return conversation.finish()
    if not isinstance(source, list):
        refuse_value("input", "must be a string or a list of items", source)
    if not source:
        raise InvalidRequestError("input is empty; it needs at least one item", "input")
    for i, item in enumerate(source):
        conversation.add(item, f"input[{i}]")
    return conversation.finish()


class _Conversation:
    """Collects items. The items of one turn of the model become one message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._reasoning: list[str] = []
        self._kinds: Mapping[str, Callable[[Item, str], None]] = {
            "message": self._add_message,
            "function_call": self._add_function_call,
            "function_call_output": self._add_function_call_output,
            "reasoning": self._add_reasoning,
        }

    def add(self, item: object, where: str) -> None:
        """Add an item of the input."""
        # Client libraries send unset members as null.
        item = {k: value for k, value in expect(dict, item, where).items() if value is not None}
        kind = expect(str, item.get("type", "message"), f"{where}.type")
        add = self._kinds.get(kind)
        if add is None:
            hint = did_you_mean(kind, self._kinds) or f"; possible: {', '.join(self._kinds)}"
            problem = f"{where}.type {kind[:100]!r} is not supported"
            raise InvalidRequestError(problem + hint, "input")
        add(item, where)

    def finish(self) -> tuple[Message, ...]:
        """The messages of all items."""
        if self._reasoning:
            self._start_turn("")
        return tuple(self.messages)

    def _add_message(self, item: Item, where: str) -> None:
        role = item.get("role")
        if not isinstance(role, str) or role not in ROLES:
            refuse_value(f"{where}.role", f"must be one of {', '.join(ROLES)}", role)
        unset = "" if role == "assistant" else None
        content = _parse_content(item.get("content", unset), f"{where}.content")
        if role == "assistant":
            self._start_turn(content)
        else:
            self._append({"role": role, "content": content})

    def _add_function_call(self, item: Item, where: str) -> None:
        call = {
            "id": _text(item, "call_id" if "call_id" in item else "id", where),
            "type": "function",
            "function": {
                "name": _text(item, "name", where),
                "arguments": _text({"arguments": "{}", **item}, "arguments", where),
            },
        }
        is_same_turn = self.messages and self.messages[-1]["role"] == "assistant"
        if self._reasoning or not is_same_turn:
            self._start_turn("")
        self.messages[-1].setdefault("tool_calls", []).append(call)

    def _add_function_call_output(self, item: Item, where: str) -> None:
        content = _parse_content(item.get("output"), f"{where}.output")
        call_id = _text(item, "call_id", where)
        self._append({"role": "tool", "tool_call_id": call_id, "content": content})

    def _add_reasoning(self, item: Item, where: str) -> None:
        """Keep the text, or else the summary, for the turn that follows."""
        for member in ("content", "summary"):
            parts = item.get(member)
            if parts:
                self._reasoning += _reasoning_texts(parts, f"{where}.{member}")
                return

    def _append(self, message: Message) -> None:
        if self._reasoning:
            self._start_turn("")
        self.messages.append(message)

    def _start_turn(self, content: str) -> None:
        message: Message = {"role": "assistant", "content": content}
        if self._reasoning:
            message["reasoning_content"] = "\n".join(self._reasoning)
            self._reasoning = []
        self.messages.append(message)


def _parse_content(content: object, where: str) -> str:
    """A string, or parts that are all text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        refuse_value(where, "must be a string or a list of parts", content)
    return "\n".join(_parse_part(part, f"{where}[{i}]") for i, part in enumerate(content))


def _parse_part(part: object, where: str) -> str:
    part = expect(dict, part, where)
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in TEXT_PARTS:
        refuse_value(f"{where}.type", "must be 'input_text' or 'output_text'", kind)
    return _text(part, TEXT_PARTS[kind], where)


def _reasoning_texts(parts: object, where: str) -> list[str]:
    if not isinstance(parts, list):
        refuse_value(where, "must be a list of parts", parts)
    texts = []
    for i, part in enumerate(parts):
        place = f"{where}[{i}]"
        texts.append(_text(expect(dict, part, place), "text", place))
    return texts


def _text(item: Item, name: str, where: str) -> str:
    return expect(str, item.get(name), f"{where}.{name}")
