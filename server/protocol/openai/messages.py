"""Messages and tools of a chat: checks them, and makes the form that chat templates expect."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import InvalidRequestError
from server.protocol.refusal import expect, refuse_value

__all__ = ["adds_generation_prompt", "parse_messages", "parse_tools"]


def parse_messages(messages: Sequence[object]) -> tuple[Mapping[str, Any], ...]:
    """Check a conversation. Unknown members are kept for the chat template."""
    if not messages:
        raise InvalidRequestError("messages is empty; it needs at least one message", "messages")
    return tuple(_parse_message(message, f"messages[{i}]") for i, message in enumerate(messages))


def _parse_message(message: object, where: str) -> Mapping[str, Any]:
    message = _newer_form(expect(dict, message, where))
    expect(str, message.get("role"), f"{where}.role")
    # Client libraries send unset members as null.
    parsed = {name: value for name, value in message.items() if value is not None}
    parsed["content"] = _parse_content(message.get("content"), f"{where}.content")
    _check_id(parsed.get("tool_call_id"), f"{where}.tool_call_id")
    if "tool_calls" in parsed:
        parsed["tool_calls"] = _parse_tool_calls(parsed["tool_calls"], f"{where}.tool_calls")
        if parsed["tool_calls"] and message.get("content") is None:
            # Some chat templates tell it from an empty text.
            parsed["content"] = None
    return parsed


def _newer_form(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a call of OpenAI's older `functions`, its result and a refusal as other messages."""
    newer = dict(message)
    call = newer.pop("function_call", None)
    if call is not None and not newer.get("tool_calls"):
        newer["tool_calls"] = [{"type": "function", "function": call}]
    if newer.get("role") == "function":
        newer["role"] = "tool"
    refusal = newer.pop("refusal", None)
    if isinstance(refusal, str) and not newer.get("content"):
        newer["content"] = refusal
    return newer


def _parse_content(content: object, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        refuse_value(where, "must be a string, null or a list of parts", content)
    return "\n".join(_parse_part(part, f"{where}[{i}]") for i, part in enumerate(content))


def _parse_part(part: object, where: str) -> str:
    part = expect(dict, part, where)
    kind = part.get("type")
    if kind not in ("text", "refusal"):
        refuse_value(f"{where}.type", "must be 'text' or 'refusal', others are not supported", kind)
    return expect(str, part.get(kind), f"{where}.{kind}")


def _parse_tool_calls(tool_calls: object, where: str) -> list[Mapping[str, Any]]:
    tool_calls = expect(list, tool_calls, where)
    return [_parse_tool_call(call, f"{where}[{i}]") for i, call in enumerate(tool_calls)]


def _parse_tool_call(call: object, where: str) -> Mapping[str, Any]:
    call = expect(dict, call, where)
    function = expect(dict, call.get("function"), f"{where}.function")
    expect(str, function.get("name"), f"{where}.function.name")
    _check_id(call.get("id"), f"{where}.id")
    arguments = function.get("arguments")
    if arguments is None:
        arguments = "{}"
    if not isinstance(arguments, str | dict):
        refuse_value(f"{where}.function.arguments", "must be a string or an object", arguments)
    kind = call.get("type") or "function"
    return {**call, "type": kind, "function": {**function, "arguments": arguments}}


def _check_id(found: object, where: str) -> None:
    """Refuse an id of a tool call that is neither a string nor a number; some clients count."""
    if not (found is None or isinstance(found, str | int)):
        refuse_value(where, "must be a string", found)


def adds_generation_prompt(wanted: bool | None, continues_final: bool) -> bool:
    """Whether a prompt ends with the beginning of an answer; it does unless it is to end elsewhere.

    Raises InvalidRequestError for both at once.
    """
    if wanted and continues_final:
        raise InvalidRequestError(
            "continue_final_message and add_generation_prompt cannot both be true: a prompt that "
            "ends inside the final message begins no other answer",
            "continue_final_message",
        )
    return not continues_final if wanted is None else wanted


def parse_tools(tools: Sequence[object]) -> tuple[Mapping[str, Any], ...]:
    """Check tool definitions; the flat form {type, name, ...} becomes the nested one."""
    return tuple(_parse_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools))


def _parse_tool(tool: object, where: str) -> Mapping[str, Any]:
    tool = expect(dict, tool, where)
    if tool.get("type") is None:
        # In front, as in the prompts that models have learnt.
        tool = {"type": "function", **{k: v for k, v in tool.items() if k != "type"}}
    if tool["type"] != "function":
        refuse_value(f"{where}.type", "must be 'function'", tool.get("type"))
    if "function" not in tool and "name" in tool:
        tool = {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
    function = expect(dict, tool.get("function"), f"{where}.function")
    function = {name: value for name, value in function.items() if value is not None}
    name = function.get("name")
    if not (isinstance(name, str) and name):
        refuse_value(f"{where}.function.name", "must be a string that is not empty", name)
    parameters = function.get("parameters")
    if not (parameters is None or isinstance(parameters, dict)):
        refuse_value(f"{where}.function.parameters", "must be an object", parameters)
    return {**tool, "function": function}
