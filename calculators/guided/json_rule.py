"""JSON schemas as rules of a Lark grammar for llguidance; refuses schemas that cost too much."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from math import lcm
from typing import Any

from calculators.guided.grammar import GrammarError
from calculators.guided.schema_rewriting import SchemaError, rewrite_schema

__all__ = ["json_rules"]

# Compiling takes time and memory that grow with these: some tenths of a second at the limits.
# With references a schema can be as deep as it has objects; llguidance follows it recursively.
MAX_OBJECTS = 2000
MAX_CHARACTERS = 2**19
MAX_DEPTH = 100
MAX_REQUIRED = 2000
MAX_PATTERN_PROPERTIES = 64
# For multipleOf llguidance builds an automaton with a state for each remainder.
MAX_DIVISOR = 10_000

# A space, or a line break and indentation. Without a limit a model can write only white space.
WHITE_SPACE = r"( |\n {0,24}|\n\t{0,12})"
OPTIONS = {"x-guidance": {"whitespace_pattern": WHITE_SPACE}}
COMPACT = {"x-guidance": {"whitespace_flexible": False}}


def json_rules(
    schemas: Sequence[Mapping[str, Any]],
    field: str,
    *,
    owners: Sequence[str] = (),
    has_white_space: bool = True,
) -> list[str]:
    """For each schema, the part of a grammar rule that stands for the JSON texts it allows.

    Raises InvalidRequestError, naming the field, if they are too large together, or one of them
    cannot be satisfied; `owners` are then the names of what they belong to. llguidance checks what
    else the schemas say.
    """
    excess = _find_excess(schemas)
    if excess is None:
        options = OPTIONS if has_white_space else COMPACT
        rewritten = [
            _rewrite(schema, field, owner) for schema, owner in zip_longest(schemas, owners)
        ]
        rules = [f"%json {json.dumps({**schema, **options})}" for schema in rewritten]
        if sum(map(len, rules)) <= MAX_CHARACTERS:
            return rules
        excess = f"characters; at most {MAX_CHARACTERS}"
    raise GrammarError(field, f"too many {excess} are possible in a schema")


def _rewrite(schema: Mapping[str, Any], field: str, owner: str | None) -> dict[str, Any]:
    try:
        return rewrite_schema(schema)
    except SchemaError as error:
        place = "" if owner is None else f"the parameters of {owner!r}: "
        raise GrammarError(field, f"{place}{error}") from error


def _find_excess(schemas: Sequence[Mapping[str, Any]]) -> str | None:
    """What the schemas have too many of, and how many are possible."""
    num_objects = num_required = num_patterns = 0
    divisor = 1
    for found, depth in _containers([*schemas]):
        if isinstance(found, Mapping):
            num_objects += 1
            num_required += _length(found.get("required"))
            num_patterns += _length(found.get("patternProperties"))
            divisor = lcm(divisor, _divisor(found.get("multipleOf")))
        for what, count, most in (
            ("objects", num_objects, MAX_OBJECTS),
            ("levels", depth, MAX_DEPTH),
            ("required names", num_required, MAX_REQUIRED),
            ("patternProperties", num_patterns, MAX_PATTERN_PROPERTIES),
            ("remainders for its multipleOf", divisor, MAX_DIVISOR),
        ):
            if count > most:
                return f"{what}; at most {most}"
    return None


def _containers(schemas: list[Any]) -> Iterator[tuple[object, int]]:
    """Every object and list in the schemas, with its depth; without recursion."""
    waiting = [(schemas, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Mapping | list):
            yield value, depth
            inner = value.values() if isinstance(value, Mapping) else value
            waiting += [(part, depth + 1) for part in inner]


def _length(value: object) -> int:
    return len(value) if isinstance(value, Mapping | list) else 0


def _divisor(multiple_of: object) -> int:
    """The divisor without its factors 2 and 5, which only need the last digits of a number."""
    if isinstance(multiple_of, bool) or not isinstance(multiple_of, int | float):
        return 1
    number = Decimal(repr(multiple_of))
    if not number.is_finite() or number <= 0:
        return 1
    digits = int("".join(map(str, number.as_tuple().digits)))
    for factor in (2, 5):
        while digits % factor == 0:
            digits //= factor
    return digits
