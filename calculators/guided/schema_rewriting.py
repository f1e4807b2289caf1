"""Rewrites JSON schemas so that llguidance can follow them.

What asks for nothing goes, and keywords that llguidance does not know become ones that it knows. A
value that satisfies the new schema satisfies the old one. What cannot be rewritten stays, and is
refused by llguidance.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from calculators.guided.disjointness import Disjointness
from calculators.guided.keyword_rewriting import (
    DATA,
    STEPS,
    Rewritten,
    list_sets,
    mapping,
    name_properties,
    require,
    strings,
)
from calculators.guided.references import LISTS, MAPS, SINGLE, References, Schema, inner_schemas

__all__ = ["SchemaError", "rewrite_schema"]

ANNOTATIONS = frozenset(
    {"$comment", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "contentEncoding"}
    | {"contentMediaType", "contentSchema", "default", "deprecated", "description", "discriminator"}
    | {"example", "examples", "externalDocs", "nullable", "readOnly", "title", "writeOnly", "xml"}
)


# With these, it depends on the value which of its properties are evaluated.
OPEN = frozenset(
    {"additionalProperties", "anyOf", "dependencies", "dependentSchemas", "if", "oneOf"}
    | {"patternProperties", "propertyNames"}
)
MAX_PARTS = 20
# Rewritten after the keywords beside them.
LATER = frozenset({"oneOf", "propertyNames"})
# More than a schema of the largest size has.
MAX_REWRITTEN = 20_000
MAX_DEPTH = 400


class SchemaError(ValueError):
    """A schema that no answer can satisfy, or that cannot be followed."""


def rewrite_schema(schema: Mapping[str, Any]) -> Rewritten:
    """The schema for llguidance. Raises SchemaError."""
    rewriter = _Rewriter(schema)
    found = rewriter.rewrite(schema, "")
    if not isinstance(found, dict):
        raise SchemaError("no answer can satisfy it")
    if rewriter.narrower:
        found["$defs"] = {**mapping(found, "$defs"), **rewriter.narrower}
    return found


class _Rewriter:
    def __init__(self, root: Mapping[str, Any]) -> None:
        # Schemas behind references that were made narrower, by their new names.
        self.narrower: dict[str, Schema] = {}
        self._names: dict[tuple[int, tuple[str, ...]], str] = {}
        self._num_rewritten = 0
        self._references = References(root)
        self._disjointness = Disjointness(self._references)
        self._targets = self._find_targets(root)

    def _find_targets(self, root: Mapping[str, Any]) -> set[int]:
        """The ids of all schemas that references name: they may stand below any keyword."""
        targets: set[int] = set()
        seen: set[int] = set()
        waiting: list[Schema] = [root]
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            waiting += (inner for _, _, inner in inner_schemas(schema))
            if isinstance(schema.get("$ref"), str):
                target = self._references.find(schema["$ref"])
                targets.add(id(target))
                waiting.append(target)
        return targets

    def rewrite(self, schema: Schema, where: str) -> Schema:
        """One schema and all inside; False where certainly no value satisfies it."""
        if not isinstance(schema, dict):
            return schema
        self._num_rewritten += 1
        if self._num_rewritten > MAX_REWRITTEN or where.count("/") > MAX_DEPTH:
            raise SchemaError("it refers to itself in a way that cannot be followed")
        new: Rewritten = {}
        for name, value in schema.items():
            if name in ANNOTATIONS or (value is None and name not in DATA):
                continue
            new[name] = self._rewrite_value(name, value, f"{where}/{name}")
        for step in STEPS:
            step(new)
        if new.get("unevaluatedProperties") is False:
            self._close(new, schema)
        if "propertyNames" in new:
            names = self._references.resolve(schema["propertyNames"])
            name_properties(new, self.rewrite(names, f"{where}/propertyNames"))
        if "uniqueItems" in new:
            list_sets(new, self._references.resolve(schema.get("items")))
        if "oneOf" in new:
            self._choose_one(new, schema, where)
        return False if new.get("not") is True else self._simplest(new, schema)

    def _close(self, new: Rewritten, schema: Mapping[str, Any]) -> None:
        """Close an object whose properties stand in `allOf` and references, not in options."""
        names = self._evaluated_names(schema, 0)
        if names is not None:
            del new["unevaluatedProperties"]
            inner = dict.fromkeys(sorted(names), True)
            new["properties"] = {**inner, **mapping(new, "properties")}
            new["additionalProperties"] = False

    def _evaluated_names(self, schema: Schema, depth: int) -> set[str] | None:
        """The properties that a schema evaluates; None if these depend on the value."""
        if schema is True:
            return set()
        is_nested = depth > 0 and isinstance(schema, dict) and "unevaluatedProperties" in schema
        if depth > MAX_PARTS or not isinstance(schema, dict) or schema.keys() & OPEN or is_nested:
            return None
        parts = [*schema.get("allOf", ())] if isinstance(schema.get("allOf", []), list) else [None]
        if "$ref" in schema:
            parts.append(self._references.find(str(schema["$ref"])))
        found = [self._evaluated_names(part, depth + 1) for part in parts]
        known = [names for names in found if names is not None]
        return {*mapping(schema, "properties")}.union(*known) if len(known) == len(found) else None

    def _simplest(self, new: Rewritten, schema: Mapping[str, Any]) -> Schema:
        """The same with less around a reference: llguidance follows bare ones in a circle."""
        if "$ref" in new and "type" in new:
            target = self._references.find(schema["$ref"])
            if isinstance(target, dict) and target.get("type") == new["type"]:
                del new["type"]
        for name in ("allOf", "anyOf"):
            inner = schema.get(name)
            if new.keys() == {name} and isinstance(inner, list) and len(new[name]) == 1:
                return new if {*map(id, inner)} & self._targets else new[name][0]
        return new

    def _rewrite_value(self, name: str, value: Any, where: str) -> Any:
        if name in DATA or name in LATER:
            return value
        if name in MAPS and isinstance(value, dict):
            return {key: self.rewrite(inner, f"{where}/{key}") for key, inner in value.items()}
        if name in LISTS and isinstance(value, list):
            return [self.rewrite(inner, f"{where}/{i}") for i, inner in enumerate(value)]
        if name in SINGLE:
            return self.rewrite(value, where)
        return self._rewrite_targets(value, where)

    def _rewrite_targets(self, value: Any, where: str) -> Any:
        """What is below an unknown keyword: only what references name is a schema."""
        if id(value) in self._targets:
            return self.rewrite(value, where)
        if isinstance(value, dict):
            return {k: self._rewrite_targets(inner, f"{where}/{k}") for k, inner in value.items()}
        if isinstance(value, list):
            return [self._rewrite_targets(inner, f"{where}/{i}") for i, inner in enumerate(value)]
        return value

    def _choose_one(self, new: Rewritten, schema: Mapping[str, Any], where: str) -> None:
        """Turn `oneOf` into `anyOf` of options that exclude each other."""
        options = schema["oneOf"]
        if not isinstance(options, list):
            return
        options = _typed(options, schema)
        chosen = [
            self._rewrite_option(candidate, option, f"{where}/oneOf/{i}")
            for i, (option, candidate) in enumerate(
                zip(options, self._exclusive(options, where), strict=True)
            )
        ]
        del new["oneOf"]
        require(new, {"anyOf": chosen})

    def _rewrite_option(self, candidate: Schema, option: Schema, where: str) -> Schema:
        """A narrower form of a reference gets a name, since it may contain itself."""
        if candidate is option or "$ref" not in option:
            return self.rewrite(candidate, where)
        target = self._references.resolve(option)
        key = id(target), tuple(candidate["properties"])
        if key not in self._names:
            name = self._names[key] = f"narrower {len(self._names)}"
            self.narrower[name] = True
            self.narrower[name] = self.rewrite(candidate, f"/$defs/{name}")
        return {"$ref": f"#/$defs/{self._names[key]}".replace(" ", "%20")}

    def _exclusive(self, options: list[Schema], where: str) -> Iterator[Schema]:
        """Each option, made narrower where a value could satisfy another one as well."""
        if self._disjointness.tells_apart(options):
            yield from options
            return
        for i, option in enumerate(options):
            others = [*options[:i], *options[i + 1 :]]
            narrower = self._without_names_of(option, others)
            for candidate in (option, narrower):
                if all(self._disjointness.are_disjoint(candidate, other) for other in others):
                    yield candidate
                    break
            else:
                raise SchemaError(
                    f"{where[:100]}/oneOf: a value could satisfy option {i} and another one; use "
                    "anyOf, or give every option a required property with a const of its own",
                )

    def _without_names_of(self, option: Schema, others: list[Schema]) -> Schema:
        """The option without the properties that others require and it does not know."""
        found = self._references.resolve(option)
        if not isinstance(found, dict) or self._references.has_inner_ids:
            return option
        properties = mapping(found, "properties")
        known = {*properties, *strings(found.get("required"))}
        names = {
            name
            for other in map(self._references.resolve, others)
            if isinstance(other, dict)
            for name in strings(other.get("required"))
            if name not in known
        }
        return {**found, "properties": {**properties, **dict.fromkeys(sorted(names), False)}}


def _typed(options: list[Schema], schema: Mapping[str, Any]) -> list[Schema]:
    """The options with the type that stands beside them."""
    if "type" not in schema:
        return options
    return [
        {"type": schema["type"], **option}
        if isinstance(option, dict) and "$ref" not in option
        else option
        for option in options
    ]
