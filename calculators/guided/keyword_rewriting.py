"""Rewrites the keywords of one JSON schema; what is inside was rewritten before."""

from collections.abc import Mapping
from itertools import combinations, permutations
from math import comb
from typing import Any, TypeGuard

from calculators.guided.disjointness import value_key
from calculators.guided.references import Schema
from calculators.guided.string_patterns import (
    FORMAT_PATTERNS,
    KNOWN_FORMATS,
    listed_texts,
    split_lookaheads,
)

__all__ = [
    "DATA",
    "STEPS",
    "Rewritten",
    "list_sets",
    "mapping",
    "name_properties",
    "require",
    "strings",
]

# Their values are data, in which nothing is a schema.
DATA = frozenset({"const", "enum"})
DRAFTS = ("draft-04", "draft-06", "draft-07", "2019-09", "2020-12")
# With these, members may be evaluated elsewhere.
EVALUATING = frozenset(
    {"$ref", "allOf", "anyOf", "contains", "dependentSchemas", "if", "not", "oneOf"}
)
# For keywords about combinations of properties, and of different items.
MAX_COMBINATIONS = 64
MAX_DEPENDENCIES = 4
MAX_DIFFERENT_ITEMS = 5

Rewritten = dict[str, Any]


def drop_what_asks_for_nothing(new: Rewritten) -> None:
    """Remove keywords that every value satisfies."""
    if not any(draft in str(new.get("$schema")) for draft in DRAFTS):
        new.pop("$schema", None)
    is_array = new.get("type", "array") == "array" or not isinstance(new["type"], str)
    if new.get("uniqueItems") is False or _is_at_most(new.get("maxItems"), 1) or not is_array:
        new.pop("uniqueItems", None)
    for name in ("unevaluatedProperties", "unevaluatedItems"):
        if _is_open(new.get(name)):
            del new[name]
    branches = [new.get("then", True), new.get("else", True)]
    if "if" not in new or all(map(_is_open, branches)):
        for name in ("if", "then", "else"):
            new.pop(name, None)
    if new.get("not") is False:
        del new["not"]


def close_what_is_not_evaluated(new: Rewritten) -> None:
    """Without keywords that evaluate members elsewhere, "unevaluated" means "additional"."""
    if new.keys() & EVALUATING or isinstance(new.get("items"), list):
        return
    for name, other in (
        ("unevaluatedProperties", "additionalProperties"),
        ("unevaluatedItems", "items"),
    ):
        if name in new and other not in new:
            new[other] = new.pop(name)
        else:
            new.pop(name, None)


def enforce_format(new: Rewritten) -> None:
    """Make a known format a pattern; an unknown one is only an annotation."""
    name = new.get("format")
    if not isinstance(name, str) or name in KNOWN_FORMATS:
        return
    del new["format"]
    pattern = FORMAT_PATTERNS.get(name)
    if pattern is not None and "pattern" not in new:
        new["pattern"] = pattern
    elif pattern is not None:
        require(new, {"pattern": pattern})


def look_ahead(new: Rewritten) -> None:
    """Make what a pattern looks for ahead of its start patterns of their own."""
    pattern = new.get("pattern")
    if isinstance(pattern, str) and "(?" in pattern:
        *ahead, new["pattern"] = split_lookaheads(pattern)
        for part in ahead:
            require(new, {"pattern": part})


def list_named_patterns(new: Rewritten) -> None:
    """Make patterns that list names properties: each of those comes only once."""
    patterns = new.get("patternProperties")
    if not (isinstance(patterns, dict) and isinstance(new.get("properties", {}), dict)):
        return
    for pattern in [pattern for pattern in patterns if listed_texts(pattern)]:
        inner = patterns.pop(pattern)
        properties = new.setdefault("properties", {})
        for name in listed_texts(pattern) or ():
            both = [properties[name], inner] if name in properties else None
            properties[name] = {"allOf": both} if both else inner
    if not patterns:
        del new["patternProperties"]


def count_contained(new: Rewritten) -> None:
    """Every item matches `contains` if that allows everything."""
    contains = new.get("contains")
    low, high = new.pop("minContains", 1), new.pop("maxContains", None)
    if "contains" not in new or (low == 0 and high is None):
        new.pop("contains", None)
    elif _is_open(contains):
        del new["contains"]
        bounds = {"minItems": low} if high is None else {"minItems": low, "maxItems": high}
        require(new, bounds)


def depend(new: Rewritten) -> None:
    """Either a property is not there, or what depends on it holds."""
    wanted: list[tuple[str, Schema]] = []
    for name in ("dependentRequired", "dependentSchemas", "dependencies"):
        found = new.get(name)
        if not isinstance(found, dict):
            continue
        for key, needed in found.items():
            if isinstance(needed, list) and needed:
                wanted.append((key, {"required": [key, *needed]}))
            elif isinstance(needed, dict | bool) and not _is_open(needed):
                wanted.append((key, {"allOf": [{"required": [key]}, needed]}))
    if len(wanted) > MAX_DEPENDENCIES:
        return
    for name in ("dependentRequired", "dependentSchemas", "dependencies"):
        if isinstance(new.get(name), dict):
            del new[name]
    for key, needed in wanted:
        require(new, {"anyOf": [{"properties": {key: False}}, needed]})


def negate(new: Rewritten) -> None:
    """Replace `not` by what it allows, where keywords can express that."""
    excluded = new.get("not")
    if _is_open(excluded):
        new["not"] = True
    elif isinstance(excluded, dict) and len(excluded) == 1:
        ((name, value),) = excluded.items()
        possible = _opposite(name, value, new)
        if possible is not None:
            del new["not"]
            require(new, possible)


def count_properties(new: Rewritten) -> None:
    """`minProperties` and `maxProperties` as combinations, where all properties are known."""
    required = {*strings(new.get("required"))}
    if _is_at_most(new.get("minProperties"), len(required)):
        del new["minProperties"]
    is_closed = new.get("additionalProperties") is False and not new.get("patternProperties")
    if not is_closed:
        return
    properties = mapping(new, "properties")
    names = [name for name, inner in properties.items() if inner is not False]
    low, high = new.get("minProperties"), new.get("maxProperties")
    if _is_count(high) and high >= len(names):
        del new["maxProperties"]
    elif _is_count(high) and comb(len(names), high) <= MAX_COMBINATIONS:
        del new["maxProperties"]
        absent = combinations(names, len(names) - high)
        require(new, {"anyOf": [{"properties": dict.fromkeys(a, False)} for a in absent]})
    if _is_count(low) and 0 < comb(len(names), low) <= MAX_COMBINATIONS:
        new.pop("minProperties", None)
        if low > len(required):
            present = combinations(names, low)
            require(new, {"anyOf": [{"required": [*chosen]} for chosen in present]})


def name_properties(new: Rewritten, names: Schema) -> None:
    """Turn `propertyNames`, which is `names`, into properties or a pattern."""
    if _is_open(names) or (isinstance(names, dict) and names == {"type": "string"}):
        del new["propertyNames"]
    elif isinstance(names, dict) and "patternProperties" not in new:
        rest = new.get("additionalProperties", True)
        possible = _texts(names)
        pattern = _pattern_of(names)
        if possible is not None:
            known = {k: v for k, v in mapping(new, "properties").items() if k in possible}
            new["properties"] = {**dict.fromkeys(possible, rest), **known}
            new["additionalProperties"] = False
            del new["propertyNames"]
        elif pattern is not None and "properties" not in new:
            new["patternProperties"] = {pattern: rest}
            new["additionalProperties"] = False
            del new["propertyNames"]


def list_sets(new: Rewritten, items: Schema) -> None:
    """Turn `uniqueItems`, where `items` are few, into all their arrangements."""
    values = items.get("enum") if isinstance(items, dict) else None
    if new.get("uniqueItems") is not True or not isinstance(values, list):
        return
    distinct = list({value_key(value): value for value in values}.values())
    if len(distinct) <= MAX_DIFFERENT_ITEMS and new.keys().isdisjoint(DATA):
        del new["uniqueItems"]
        counts = range(len(distinct) + 1)
        require(new, {"enum": [list(p) for n in counts for p in permutations(distinct, n)]})


STEPS = (
    drop_what_asks_for_nothing,
    close_what_is_not_evaluated,
    look_ahead,
    enforce_format,
    list_named_patterns,
    count_contained,
    depend,
    negate,
    count_properties,
)
"""The rewritings that take nothing but the schema."""


def _is_open(schema: object) -> bool:
    """Whether the schema allows everything."""
    return schema is True or schema == {}


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_at_most(value: object, most: int) -> bool:
    return _is_count(value) and value <= most


def mapping(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that should be an object; empty if it is not."""
    value = schema.get(name)
    return value if isinstance(value, dict) else {}


def strings(value: object) -> list[str]:
    """The strings of a value that should be a list of them."""
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def require(new: Rewritten, part: Rewritten) -> None:
    """Let another schema hold as well; an `allOf` that is no list is refused later."""
    if part.keys() == {"anyOf"} and "anyOf" not in new:
        new["anyOf"] = part["anyOf"]
    elif isinstance(new.setdefault("allOf", []), list):
        new["allOf"] = [*new["allOf"], part]


def _texts(schema: Rewritten) -> list[str] | None:
    """The texts that a schema allows, if it lists them."""
    if not schema.keys() <= {"type", "enum", "const"} or schema.get("type", "string") != "string":
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return [v for v in values if isinstance(v, str)] if isinstance(values, list) else None


def _pattern_of(schema: Rewritten) -> str | None:
    """The one keyword of a schema of strings as a pattern; None for several or others."""
    keys = schema.keys() - {"type"}
    if schema.get("type", "string") != "string":
        return None
    if keys == {"pattern"}:
        return str(schema["pattern"])
    if keys and keys <= {"minLength", "maxLength"}:
        return f"^(?s:.{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}})$"
    return None


def _opposite(name: str, value: Any, beside: Rewritten) -> Rewritten | None:
    """What satisfies `{"not": {name: value}}`; None where keywords cannot express it."""
    if name == "type":
        excluded = {*strings([value] if isinstance(value, str) else value)}
        kinds = {"null", "boolean", "number", "string", "array", "object"}
        return None if "integer" in excluded else {"type": sorted(kinds - excluded)}
    if name == "required" and len(strings(value)) == len(value) == 1:
        return {"type": "object", "properties": {value[0]: False}}
    excluded_values = [value] if name == "const" else value
    if name in DATA and isinstance(beside.get("enum"), list) and isinstance(excluded_values, list):
        keys = {*map(value_key, excluded_values)}
        return {"enum": [v for v in beside["enum"] if value_key(v) not in keys]}
    return None
