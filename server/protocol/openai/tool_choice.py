"""Which tools a model may call, must call, and how many at once."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from server.errors import InvalidRequestError, did_you_mean
from server.protocol.openai.messages import parse_tools
from server.protocol.refusal import expect, refuse_value

__all__ = ["ToolFields", "parse_tool_fields"]

FIELD = "tool_choice"


class ToolFields(TypedDict):
    """The members of GenerationRequest that are about tools."""

    tools: tuple[Mapping[str, Any], ...]
    is_tool_required: bool
    parallel_tool_calls: bool


def parse_tool_fields(
    tools: Sequence[object], tool_choice: object, parallel_tool_calls: bool
) -> ToolFields:
    """Check tools and tool_choice; a tool that is chosen by name is the only one, called once."""
    parsed = parse_tools(tools)
    if isinstance(tool_choice, dict) and tool_choice.get("type") == "allowed_tools":
        parsed, tool_choice = _parse_allowed(tool_choice, parsed)
    if isinstance(tool_choice, dict):
        name = _parse_name(tool_choice)
        return ToolFields(
            tools=(_find_tool(parsed, name),), is_tool_required=True, parallel_tool_calls=False
        )
    if tool_choice not in (None, "auto", "none", "required"):
        refuse_value(FIELD, "must be 'auto', 'none', 'required' or an object", tool_choice)
    is_required = tool_choice == "required"
    if is_required and not parsed:
        raise InvalidRequestError("tool_choice is 'required', but there are no tools", FIELD)
    return ToolFields(
        tools=() if tool_choice == "none" else parsed,
        is_tool_required=is_required,
        parallel_tool_calls=parallel_tool_calls,
    )


def _parse_allowed(
    tool_choice: Mapping[str, Any], tools: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], object]:
    """The tools that OpenAI's allowed_tools leaves, and its mode: auto or required."""
    where = f"{FIELD}.allowed_tools"
    found = expect(dict, tool_choice.get("allowed_tools", tool_choice), where)
    mode = found.get("mode", "auto")
    if mode not in ("auto", "required"):
        refuse_value(f"{where}.mode", "must be 'auto' or 'required'", mode)
    allowed = expect(list, found.get("tools"), f"{where}.tools")
    names = [
        _parse_name(expect(dict, tool, f"{where}.tools[{i}]")) for i, tool in enumerate(allowed)
    ]
    return tuple(_find_tool(tools, name) for name in dict.fromkeys(names)), mode


def _parse_name(tool_choice: Mapping[str, Any]) -> str:
    """The name in {type, function: {name}}, or in the flat {type, name}."""
    if tool_choice.get("type") != "function":
        refuse_value(f"{FIELD}.type", "must be 'function'", tool_choice.get("type"))
    function = tool_choice if "name" in tool_choice else tool_choice.get("function")
    where = FIELD if function is tool_choice else f"{FIELD}.function"
    function = expect(dict, function, where)
    return expect(str, function.get("name"), f"{where}.name")


def _find_tool(tools: tuple[Mapping[str, Any], ...], name: str) -> Mapping[str, Any]:
    names = [str(tool["function"]["name"]) for tool in tools]
    if name in names:
        return tools[names.index(name)]
    hint = did_you_mean(name, names) or (
        f"; possible: {', '.join(names[:10])[:200]}" if names else "; there are no tools"
    )
    raise InvalidRequestError(f"tool_choice names {name[:100]!r}, which is no tool{hint}", FIELD)
