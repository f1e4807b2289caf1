"""Arguments that a model writes as plain text, as JSON of the types in the tool's schema."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calculators.output_parsers.json_scanner import read_json
from calculators.output_parsers.literal_reader import LiteralReader

__all__ = ["ParameterTypes", "to_json"]

# Keywords that only schemas of one type have.
KEYWORD_TYPES = {
    "properties": "object",
    "additionalProperties": "object",
    "required": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "maxItems": "array",
    "pattern": "string",
    "minLength": "string",
    "maxLength": "string",
    "minimum": "number",
    "maximum": "number",
    "multipleOf": "number",
}
ALTERNATIVES = ("anyOf", "oneOf", "allOf")
# Enough for any schema that means something; references can go round in circles.
MAX_SCHEMAS = 1000


class ParameterTypes:
    """The JSON types of a tool's parameters; a name that no tool has allows every type."""

    def __init__(self, tools: Sequence[Mapping[str, Any]], name: str) -> None:
        self._root = _find_parameters(tools, name)
        self.properties: dict[str, object] = {}
        """The schema of each parameter."""
        for schema in _alternatives(self._root, self._root):
            found = schema.get("properties")
            self.properties.update(found if isinstance(found, Mapping) else {})

    def of(self, key: str) -> frozenset[str]:
        """The types that a parameter may have; empty if the schema does not say."""
        types: set[str] = set()
        for schema in _alternatives(self.properties.get(key), self._root):
            types.update(_own_types(schema))
        return frozenset(types)


def to_json(text: str, types: frozenset[str]) -> str:
    """The text as JSON: a value of one of the types if possible, else of its own type.

    A text that is not JSON becomes a string. Other types win over strings: `1` for "integer or
    string" is a number.
    """
    value = _read(text.strip())
    if value is None:
        return json.dumps(text, ensure_ascii=False)
    kinds = _kinds(json.loads(value))
    if "string" not in kinds:
        fits = bool(kinds & types) or "string" not in types
        return value if fits else json.dumps(text, ensure_ascii=False)
    if "string" in types:
        return json.dumps(text, ensure_ascii=False)
    inner = _read(json.loads(value).strip())
    return inner if inner is not None and _kinds(json.loads(inner)) & types else value


def _read(text: str) -> str | None:
    """The text as one JSON value; models also write those of Python."""
    value = read_json(text)
    if value is not None or len(text) < 2:
        return value
    reader = LiteralReader(text)
    try:
        literal = reader.value()
    except ValueError:
        return None
    return json.dumps(literal, ensure_ascii=False) if reader.is_at_end() else None


def _find_parameters(tools: Sequence[Mapping[str, Any]], name: str) -> object:
    for tool in tools:
        if tool["function"]["name"] == name:
            return tool["function"].get("parameters")
    return None


def _alternatives(schema: object, root: object) -> Iterator[Mapping[str, Any]]:
    """The schema, what it refers to, and its alternatives."""
    waiting = [schema]
    references = set()
    for _ in range(MAX_SCHEMAS):
        if not waiting:
            return
        found = waiting.pop()
        if not isinstance(found, Mapping):
            continue
        yield found
        for keyword in ALTERNATIVES:
            inner = found.get(keyword)
            waiting += inner if isinstance(inner, list) else []
        reference = found.get("$ref")
        if isinstance(reference, str) and reference not in references:
            references.add(reference)
            waiting.append(_follow(reference, root))


def _follow(reference: str, root: object) -> object:
    """What a reference inside the schema points to (RFC 6901)."""
    if not reference.startswith("#"):
        return None
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _own_types(schema: Mapping[str, Any]) -> Iterator[str]:
    stated = schema.get("type")
    values = schema.get("enum")
    if isinstance(stated, str):
        yield stated
    elif isinstance(stated, list):
        yield from (kind for kind in stated if isinstance(kind, str))
    elif "const" in schema:
        yield from _kinds(schema["const"])
    elif isinstance(values, list):
        yield from (kind for value in values for kind in _kinds(value))
    else:
        yield from (kind for keyword, kind in KEYWORD_TYPES.items() if keyword in schema)
    if schema.get("nullable") is True:
        yield "null"


def _kinds(value: object) -> set[str]:
    """The names that JSON Schema has for the type of a value."""
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"integer", "number"} if value.is_integer() else {"number"}
    names = {str: "string", dict: "object", list: "array", type(None): "null"}
    return {names[type(value)]}
