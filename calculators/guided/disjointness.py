"""Whether a value can satisfy two JSON schemas: oneOf allows only what satisfies exactly one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from calculators.guided.references import References, Schema

__all__ = ["Disjointness", "value_key"]

TYPES = frozenset({"null", "boolean", "number", "string", "array", "object"})
MAX_DEPTH = 12
MAX_COMPARISONS = 20_000


class Disjointness:
    """Compares schemas of one document, whose references it follows."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._num_comparisons = 0

    def tells_apart(self, options: Sequence[Schema]) -> bool:
        """Whether the options differ in one required property that has given values in each."""
        found = [self._references.resolve(option) for option in options]
        objects = [option for option in found if isinstance(option, dict)]
        if len(objects) < len(options) or not objects:
            return False
        return any(
            self._is_tag(name, objects)
            for name in _names(objects[0])
            if all(name in _names(option) for option in objects)
        )

    def _is_tag(self, name: str, objects: Sequence[Mapping[str, Any]]) -> bool:
        values: list[str] = []
        for option in objects:
            found = self._references.resolve(_properties(option).get(name))
            possible = _finite_values(found) if isinstance(found, dict) else None
            if possible is None or not all(isinstance(value, str) for value in possible):
                return False
            values += dict.fromkeys(possible)
        return len(set(values)) == len(values)

    def are_disjoint(self, first: Schema, second: Schema, depth: int = 0) -> bool:
        """Whether certainly no value satisfies both; False where that is not known."""
        self._num_comparisons += 1
        if depth > MAX_DEPTH or self._num_comparisons > MAX_COMPARISONS:
            return False
        first, second = self._references.resolve(first), self._references.resolve(second)
        if first is False or second is False:
            return True
        if not (isinstance(first, dict) and isinstance(second, dict)):
            return False
        return (
            self._is_split(first, second, depth)
            or self._is_split(second, first, depth)
            or self._values_differ(first, second, depth)
        )

    def _is_split(self, schema: Mapping[str, Any], other: Schema, depth: int) -> bool:
        """Whether a part of `schema` that must hold excludes `other`."""
        parts = [part for part in _list(schema, "allOf") if isinstance(part, dict | bool)]
        if "$ref" in schema:
            # What stands beside the reference is compared without it.
            parts.append({"$ref": schema["$ref"]})
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            if self.are_disjoint(rest, other, depth + 1):
                return True
        if any(self.are_disjoint(part, other, depth + 1) for part in parts):
            return True
        return any(
            bool(options) and all(self.are_disjoint(o, other, depth + 1) for o in options)
            for options in (_list(schema, "anyOf"), _list(schema, "oneOf"))
        )

    def _values_differ(
        self, first: Mapping[str, Any], second: Mapping[str, Any], depth: int
    ) -> bool:
        listed = [_finite_values(schema) for schema in (first, second)]
        if listed[0] is not None and listed[1] is not None:
            return {*map(value_key, listed[0])}.isdisjoint(map(value_key, listed[1]))
        for values, other in zip(listed, (second, first), strict=True):
            if values is not None:
                return all(self._excludes(other, value, depth) for value in values)
        shared = _types(first) & _types(second)
        return all(self._differ_as(kind, first, second, depth) for kind in shared)

    def _excludes(self, schema: Mapping[str, Any], value: object, depth: int) -> bool:
        """Whether one value certainly does not satisfy a schema that lists none."""
        if _type_of(value) not in _types(schema):
            return True
        if isinstance(value, dict):
            missing = set(_names(schema)) - value.keys()
            return bool(missing) or any(
                self.are_disjoint(inner, {"const": value[name]}, depth + 1)
                for name, inner in _properties(schema).items()
                if name in value
            )
        is_float = isinstance(value, float) and not value.is_integer()
        return is_float and _is_integer(schema)

    def _differ_as(
        self, kind: str, first: Mapping[str, Any], second: Mapping[str, Any], depth: int
    ) -> bool:
        match kind:
            case "object":
                return self._objects_differ(first, second, depth)
            case "array":
                return _is_apart(first, second, "minItems", "maxItems") or self._items_differ(
                    first, second, depth
                )
            case "string":
                return _is_apart(first, second, "minLength", "maxLength")
            case "number":
                return _is_apart(first, second, "minimum", "maximum")
        return False

    def _objects_differ(
        self, first: Mapping[str, Any], second: Mapping[str, Any], depth: int
    ) -> bool:
        for name in {*_names(first), *_names(second)}:
            one, other = _property(first, name), _property(second, name)
            if one is not None and other is not None and self.are_disjoint(one, other, depth + 1):
                return True
        return False

    def _items_differ(
        self, first: Mapping[str, Any], second: Mapping[str, Any], depth: int
    ) -> bool:
        num_needed = max(_number(first, "minItems", 0), _number(second, "minItems", 0))
        return any(
            self.are_disjoint(_item(first, i), _item(second, i), depth + 1)
            for i in range(int(min(num_needed, MAX_DEPTH)))
        )


def _list(schema: Mapping[str, Any], name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    value = schema.get("properties")
    return value if isinstance(value, dict) else {}


def _names(schema: Mapping[str, Any]) -> list[str]:
    return [name for name in _list(schema, "required") if isinstance(name, str)]


def _property(schema: Mapping[str, Any], name: str) -> Schema | None:
    """The schema of a property; None if a pattern may apply to it."""
    if schema.get("patternProperties"):
        return None
    return _properties(schema).get(name, schema.get("additionalProperties", True))


def _item(schema: Mapping[str, Any], index: int) -> Schema:
    prefix = _list(schema, "prefixItems") or _list(schema, "items")
    if index < len(prefix):
        return prefix[index]
    rest = schema.get("items", True)
    return schema.get("additionalItems", True) if isinstance(rest, list) else rest


def _finite_values(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    found = schema.get("type")
    names = [found] if isinstance(found, str) else found
    if not isinstance(names, list):
        return TYPES
    return frozenset("number" if name == "integer" else str(name) for name in names)


def _is_integer(schema: Mapping[str, Any]) -> bool:
    found = schema.get("type")
    return found == "integer" or (isinstance(found, list) and "number" not in found)


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
    return "number"


def value_key(value: object) -> str:
    """The same text for equal JSON values: 1 and 1.0 are equal, 1 and true are not."""
    is_whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if is_whole else value, sort_keys=True)  # type: ignore[call-overload]


def _number(schema: Mapping[str, Any], name: str, default: float) -> float:
    value = schema.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else default  # type: ignore[return-value]


def _is_apart(first: Mapping[str, Any], second: Mapping[str, Any], low: str, high: str) -> bool:
    """Whether the range of one ends below that of the other."""
    infinite = float("inf")
    return any(
        _number(one, high, infinite) < _number(other, low, -infinite)
        for one, other in ((first, second), (second, first))
    )
