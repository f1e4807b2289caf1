"""The forms that chat templates want the definitions of tools in."""

from collections.abc import Callable, Mapping, Sequence

from calculators.chat_template.message_forms import Message
from calculators.chat_template.template_traits import TemplateTraits

__all__ = ["complete_tools"]

Schema = Mapping[str, object]


def complete_tools(tools: Sequence[Message], traits: TemplateTraits) -> list[Message]:
    """The tools as a template with these traits takes them."""
    completed = [*tools]
    if not traits.nullable_types:
        completed = [_change_properties(tool, _without_null) for tool in completed]
    if not traits.bare_tools:
        completed = [_change_properties(_complete(tool), _described) for tool in completed]
    return completed


def _complete(tool: Message) -> Message:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    parameters = {"type": "object", "properties": {}, **(function.get("parameters") or {})}
    description = function.get("description") or ""
    complete = {**function, "description": description, "parameters": parameters}
    return {**tool, "function": complete}


def _change_properties(tool: Message, change: Callable[[Schema], Schema]) -> Message:
    """The tool with the schema of each of its parameters changed."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    if not (isinstance(parameters, Mapping) and isinstance(properties, Mapping)):
        return tool
    changed = {
        name: change(schema) if isinstance(schema, Mapping) else schema
        for name, schema in properties.items()
    }
    parameters = {**parameters, "properties": changed}
    return {**tool, "function": {**function, "parameters": parameters}}


def _without_null(schema: Schema) -> Schema:
    """The schema without the type null, which is one of several or the only one."""
    types = schema.get("type")
    if types == "null":
        return {name: value for name, value in schema.items() if name != "type"}
    if not (isinstance(types, list) and "null" in types):
        return schema
    rest = [name for name in types if name != "null"]
    return {**schema, "type": rest[0] if len(rest) == 1 else rest}


def _described(schema: Schema) -> Schema:
    described = {"description": "", **schema}
    if schema.get("type") == "object":
        described.setdefault("additionalProperties", {})
    return described
