"""The forms of one message, and messages joined to one."""

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import Any

from calculators.chat_template.template_traits import EmptyContent, ReasoningForm

__all__ = [
    "Message",
    "Messages",
    "join_all",
    "joined",
    "text_of",
    "with_empty_content",
    "with_parts",
    "with_reasoning",
    "without",
]

Message = Mapping[str, Any]
Messages = list[Message]


def with_parts(message: Message, part_roles: Collection[str]) -> Message:
    """Write a text as a list of one part, for roles that need it."""
    content = message.get("content")
    if message["role"] not in part_roles or not isinstance(content, str):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def with_empty_content(message: Message, form: EmptyContent) -> Message:
    """Write an empty content in this form."""
    rest = {name: value for name, value in message.items() if name != "content"}
    if form == "absent":
        return rest
    return {**rest, "content": None if form == "null" else ""}


def with_reasoning(message: Message, reasoning: str, form: ReasoningForm) -> Message:
    """Add earlier reasoning to a message of the assistant."""
    if form != "part":
        return {**message, form: reasoning}
    parts = [{"type": "thinking", "thinking": reasoning}]
    content = message.get("content")
    if isinstance(content, str) and content:
        parts.append({"type": "text", "text": content})
    elif isinstance(content, list):
        parts += content
    return {**message, "content": parts}


def join_all(messages: Sequence[Message]) -> Message:
    """One message with the text of all."""
    return reduce(joined, messages)


def joined(first: Message, second: Message) -> Message:
    """One message with the text of both; the other members of the second win."""
    texts = [text for text in (text_of(first), text_of(second)) if text]
    return {**first, **second, "role": first["role"], "content": "\n\n".join(texts)}


def text_of(message: Message) -> str:
    """The text of a content; of one in parts, those that have text."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def without(message: Message, *names: str) -> Message:
    """The message without these members."""
    return {name: value for name, value in message.items() if name not in names}
