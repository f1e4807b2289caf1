"""The forms that chat templates want the content of a message in."""

from collections.abc import Collection, Mapping
from typing import Any

from calculators.chat_template.template_traits import EmptyContent, ReasoningForm

__all__ = ["Message", "with_empty_content", "with_parts", "with_reasoning"]

Message = Mapping[str, Any]


def with_parts(message: Message, part_roles: Collection[str]) -> Message:
    """Write a text as a list of one part, for roles that need it."""
    content = message.get("content")
    if message["role"] not in part_roles or not isinstance(content, str):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def with_empty_content(message: Message, form: EmptyContent) -> Message:
    """Write a content of nothing in this form."""
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
