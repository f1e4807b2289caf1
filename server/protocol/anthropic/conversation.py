"""Anthropic's messages and tools -> those of a chat completion."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from server.errors import InvalidRequestError
from server.protocol.refusal import expect, refuse_value

__all__ = ["chat_messages", "chat_tool_choice", "chat_tools"]

Message = dict[str, Any]
Block = Mapping[str, Any]

ROLES = ("user", "assistant", "system")
TEXT_BLOCKS = ("text", "document", "search_result")
TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
# Claude Code begins its system prompt with a line that differs in every request. Nothing in the
# prefix cache would ever match it, and it tells the model nothing.
BILLING_LINE = "x-anthropic-billing-header:"


def chat_messages(system: object, messages: Sequence[object]) -> list[Message]:
    """The conversation as a chat completion has it. Raises InvalidRequestError."""
    converted: list[Message] = []
    if system is not None:
        texts = [t for t in _texts(system, "system") if not t.startswith(BILLING_LINE)]
        if any(texts):
            converted.append({"role": "system", "content": "\n".join(texts)})
    if not messages:
        raise InvalidRequestError("messages is empty; it needs at least one message", "messages")
    for i, message in enumerate(messages):
        converted += _convert(message, f"messages[{i}]")
    return converted


def _convert(message: object, where: str) -> Iterator[Message]:
    message = expect(dict, message, where)
    role = message.get("role")
    if role not in ROLES:
        refuse_value(f"{where}.role", f"must be one of {', '.join(ROLES)}", role)
    content = message.get("content")
    if isinstance(content, str):
        yield {"role": role, "content": content}
        return
    blocks = list(_blocks(content, f"{where}.content"))
    if role == "assistant":
        yield _assistant_turn(blocks)
    else:
        yield from _user_turn(role, blocks)


def _assistant_turn(blocks: Sequence[tuple[Block, str]]) -> Message:
    """Text, thinking and tool calls as the members of one message."""
    texts, thoughts, calls = [], [], []
    for block, where in blocks:
        match block["type"]:
            case "text":
                texts.append(_string(block, "text", where))
            case "thinking":
                thoughts.append(_string(block, "thinking", where))
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(_tool_call(block, where))
            case kind:
                _refuse_block(kind, where, "text, thinking, redacted_thinking, tool_use")
    message: Message = {"role": "assistant", "content": "\n".join(texts)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
        message["content"] = message["content"] or None
    return message


def _user_turn(role: str, blocks: Sequence[tuple[Block, str]]) -> Iterator[Message]:
    """The results of tools are messages of their own; what lies between them is the user's."""
    texts: list[str] = []
    for block, where in blocks:
        if block["type"] == "tool_result":
            if texts:
                yield {"role": role, "content": "\n".join(texts)}
                texts = []
            yield _tool_result(block, where)
        else:
            texts.append(_text_of(block, where))
    if texts or not blocks:
        yield {"role": role, "content": "\n".join(texts)}


def _tool_call(block: Block, where: str) -> Message:
    arguments = expect(dict, block.get("input"), f"{where}.input")
    function = {
        "name": _string(block, "name", where),
        "arguments": json.dumps(arguments, ensure_ascii=False),
    }
    return {"id": _string(block, "id", where), "type": "function", "function": function}


def _tool_result(block: Block, where: str) -> Message:
    content = block.get("content")
    texts = [] if content is None else _texts(content, f"{where}.content")
    call_id = _string(block, "tool_use_id", where)
    return {"role": "tool", "tool_call_id": call_id, "content": "\n".join(texts)}


def _texts(content: object, where: str) -> list[str]:
    """A string, or blocks that are all text."""
    if isinstance(content, str):
        return [content]
    return [_text_of(block, place) for block, place in _blocks(content, where)]


def _text_of(block: Block, where: str) -> str:
    kind = block["type"]
    if kind not in TEXT_BLOCKS:
        _refuse_block(kind, where, f"{', '.join(TEXT_BLOCKS)}, tool_result")
    if kind == "text":
        return _string(block, "text", where)
    if kind == "document":
        return _document(block, where)
    texts = _texts(block.get("content"), f"{where}.content")
    return "\n".join([_string(block, "title", where), *texts])


def _document(block: Block, where: str) -> str:
    """The text of a document, below its title and context; raises InvalidRequestError."""
    source = expect(dict, block.get("source"), f"{where}.source")
    if source.get("type") == "text":
        text = _string(source, "data", f"{where}.source")
    elif source.get("type") == "content":
        text = "\n".join(_texts(source.get("content"), f"{where}.source.content"))
    else:
        where = f"{where}.source.type"
        refuse_value(
            where, "must be 'text' or 'content': models here read text", source.get("type")
        )
    heads = [_string(block, name, where) for name in ("title", "context") if block.get(name)]
    return "\n".join([*heads, text])


def _refuse_block(kind: str, where: str, possible: str) -> NoReturn:
    problem = f"{where}.type {kind[:100]!r} is not supported: models here read and write text"
    raise InvalidRequestError(f"{problem}; possible: {possible}", "messages")


def _blocks(content: object, where: str) -> Iterator[tuple[Block, str]]:
    """Each block, which has a type, with its place."""
    if not isinstance(content, list):
        refuse_value(where, "must be a string or a list of blocks", content)
    for i, block in enumerate(content):
        place = f"{where}[{i}]"
        expect(str, expect(dict, block, place).get("type"), f"{place}.type")
        yield block, place


def _string(block: Block, name: str, where: str) -> str:
    return expect(str, block.get(name), f"{where}.{name}")


def chat_tools(tools: Sequence[object]) -> list[Message]:
    """Tools as functions. Raises InvalidRequestError, also for tools that Anthropic runs."""
    return [_function(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def _function(tool: object, where: str) -> Message:
    tool = expect(dict, tool, where)
    kind = tool.get("type")
    if kind not in (None, "custom"):
        problem = f"{where}.type {str(kind)[:100]!r} is not supported: only Anthropic has that tool"
        raise InvalidRequestError(f"{problem}; possible: 'custom', with an input_schema", "tools")
    function: Message = {
        "name": _string(tool, "name", where),
        "parameters": expect(dict, tool.get("input_schema"), f"{where}.input_schema"),
    }
    for name in ("description", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    return {"type": "function", "function": function}


def chat_tool_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `tool_choice` and `parallel_tool_calls`. Raises InvalidRequestError."""
    kind = choice.get("type")
    fields: dict[str, Any] = {}
    if kind == "tool":
        function = {"name": _string(choice, "name", "tool_choice")}
        fields["tool_choice"] = {"type": "function", "function": function}
    elif isinstance(kind, str) and kind in TOOL_CHOICES:
        fields["tool_choice"] = TOOL_CHOICES[kind]
    else:
        refuse_value("tool_choice.type", "must be 'auto', 'any', 'none' or 'tool'", kind)
    is_single = choice.get("disable_parallel_tool_use")
    if is_single is not None:
        where = "tool_choice.disable_parallel_tool_use"
        fields["parallel_tool_calls"] = not expect(bool, is_single, where)
    return fields
