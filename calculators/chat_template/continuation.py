"""Prompts that end inside the last message, so that the model continues it."""

from collections.abc import Mapping, Sequence

from calculators.chat_template.message_forms import Message
from server.errors import InvalidRequestError

__all__ = ["cut_behind", "mark_end"]

FIELD = "continue_final_message"
# Its place in the rendered text is where the message ends; no text of a client holds it.
MARK = "qz\u2060end\u2060of\u2060message\u2060qz"


def mark_end(messages: Sequence[Message]) -> list[Message]:
    """The conversation with a mark behind the text of its last message."""
    last = messages[-1]
    content = last.get("content")
    if last.get("tool_calls"):
        raise InvalidRequestError(f"{FIELD}: the final message has tool calls", FIELD)
    if isinstance(content, str):
        return [*messages[:-1], {**last, "content": content + MARK}]
    parts = content if isinstance(content, list) else []
    part = parts[-1] if parts else None
    if not (isinstance(part, Mapping) and isinstance(part.get("text"), str)):
        raise InvalidRequestError(f"{FIELD}: the final message does not end with text", FIELD)
    marked = {**part, "text": part["text"] + MARK}
    return [*messages[:-1], {**last, "content": [*parts[:-1], marked]}]


def cut_behind(whole: str, marked: str) -> str:
    """The rendered text up to the end of its last message.

    `whole` was rendered without the mark, `marked` with it. Where the template strips the
    message, so does the result, as in transformers.
    """
    cut, mark, _ = marked.rpartition(MARK)
    if not mark:
        raise InvalidRequestError(
            f"{FIELD}: the chat template of this model does not show the end of the final message",
            FIELD,
        )
    return cut if whole.startswith(cut) else cut.rstrip()
