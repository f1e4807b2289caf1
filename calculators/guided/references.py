"""Finds what `$ref` names in a JSON schema: pointers, anchors and ids inside the document."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urljoin

__all__ = ["References", "inner_schemas"]

Schema = Any
"""A JSON schema: an object, true or false."""

SINGLE = (
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
LISTS = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
MAPS = (
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
)
MAX_STEPS = 100


def inner_schemas(schema: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Schema]]:
    """The schemas directly inside one: the dict or list that holds each, its key there, itself."""
    for name in SINGLE:
        if isinstance(schema.get(name), dict | bool):
            yield schema, name, schema[name]
    for name in LISTS:
        if isinstance(schema.get(name), list):
            yield from ((schema[name], i, inner) for i, inner in enumerate(schema[name]))
    for name in MAPS:
        if isinstance(schema.get(name), dict):
            yield from ((schema[name], key, inner) for key, inner in schema[name].items())


class References:
    """The places of one document that references can name."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._by_id: dict[str, Schema] = {}
        self._anchors: dict[str, Schema] = {}
        self._found: dict[str, Schema | None] = {}
        self.has_inner_ids = False
        self._collect()

    def resolve(self, schema: Schema) -> Schema | None:
        """The schema behind a chain of references whose siblings have no meaning of their own.

        The schema itself if it is no such reference; None where a reference leads nowhere.
        """
        for _ in range(MAX_STEPS):
            if not (isinstance(schema, dict) and isinstance(schema.get("$ref"), str)):
                return schema
            if not schema.keys() <= PLAIN_BESIDE_REF:
                return schema
            schema = self.find(schema["$ref"])
        return None

    def find(self, reference: str) -> Schema | None:
        """What a reference names; None if it is not found here, or may be in a part with an id."""
        if reference not in self._found:
            self._found[reference] = self._find(reference)
        return self._found[reference]

    def _find(self, reference: str) -> Schema | None:
        base, _, fragment = reference.partition("#")
        target = self._by_id.get(self._absolute(base)) if base else self._root
        if target is None or (self.has_inner_ids and not base):
            return None
        if not fragment:
            return target
        if not fragment.startswith("/"):
            return self._anchors.get(fragment)
        for part in unquote(fragment)[1:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            else:
                return None
        return target if isinstance(target, dict | bool) else None

    def _absolute(self, reference: str) -> str:
        try:
            return urljoin(str(self._root.get("$id", "")), reference)
        except ValueError:
            return reference

    def _collect(self) -> None:
        waiting: list[Schema] = [self._root]
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, dict):
                continue
            if isinstance(schema.get("$anchor"), str):
                self._anchors[schema["$anchor"]] = schema
            if isinstance(schema.get("$id"), str):
                self._by_id[self._absolute(schema["$id"])] = schema
                self.has_inner_ids |= schema is not self._root
            waiting += (inner for _, _, inner in inner_schemas(schema))


PLAIN_BESIDE_REF = frozenset(
    {"$ref", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly"}
    | {"writeOnly", "$defs", "definitions", "$schema", "$id", "$anchor"}
)
