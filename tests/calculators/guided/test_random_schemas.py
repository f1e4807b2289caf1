"""Random schemas: each is refused at once, or every random answer satisfies it."""

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
from support.schema_walks import check_answer, random_answer

from calculators.guided import GrammarConstraint
from calculators.text.byte_table import ByteTable
from server.errors import InvalidRequestError

CompileSchema = Callable[[Any], Awaitable[GrammarConstraint]]

END = 2
SECONDS = 4
MIN_ACCEPTED = 20
NAMES = ("a", "b", "kind", "ab", "x y", "ß")
VALUES = ("a", "b", 1, 2, None, False, 1.5, "ab")


class Maker:
    """Makes schemas, most of them meaningful."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def schema(self) -> dict[str, Any]:
        """A schema with definitions that it may refer to."""
        found = self._any(3)
        found = found if isinstance(found, dict) else {"anyOf": [found]}
        tagged = [
            {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
            {"type": "object", "properties": {"kind": {"enum": ["b"]}}, "required": ["kind"]},
        ]
        one_of = {"oneOf": [*tagged, {"type": "null"}]}
        return {**found, "$defs": {"A": self._object(1), "B": {"enum": ["a"]}, "C": one_of}}

    def _any(self, depth: int) -> Any:
        kind = self._random.random()
        if depth == 0 or kind < 0.3:
            return self._leaf()
        if kind < 0.55:
            return self._object(depth)
        if kind < 0.7:
            return self._array(depth)
        name = self._random.choice(["anyOf", "oneOf", "allOf"])
        parts = {name: [self._any(depth - 1) for _ in range(self._random.randint(1, 3))]}
        closed = {"type": "object", "unevaluatedProperties": False}
        return parts | (closed if self._random.random() < 0.1 else {})

    def _leaf(self) -> Any:
        choose, number = self._random.choice, self._random.randint
        kinds: list[Callable[[], Any]] = [
            lambda: {"type": choose(["string", "integer", "number", "boolean", "null"])},
            lambda: {"const": choose(VALUES)},
            lambda: {"enum": self._random.sample(VALUES, number(1, 4))},
            lambda: {"type": "integer", "minimum": number(-5, 5), "maximum": number(3, 99)},
            lambda: {"type": "string", "minLength": number(0, 3), "maxLength": number(2, 6)},
            lambda: {"type": "string", "pattern": choose(["^a", "b$", "^[a-c]+$", r"^\d{2,4}$"])},
            lambda: {"type": "string", "format": choose(["date", "uuid", "ipv4", "int64"])},
            lambda: {"type": self._random.sample(["string", "null", "array", "object"], 2)},
            lambda: {"multipleOf": choose([2, 0.5]), "type": "number"},
            lambda: choose([True, {}, False]),
            lambda: {"$ref": choose(["#/$defs/A", "#/$defs/B", "#/$defs/C", "#"])},
        ]
        return choose(kinds)()

    def _object(self, depth: int) -> dict[str, Any]:
        names = self._random.sample(NAMES, self._random.randint(0, 3))
        chance, choose = self._random.random, self._random.choice
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: self._any(depth - 1) for name in names},
            "required": self._random.sample(names, self._random.randint(0, len(names))),
        }
        optional = {
            "additionalProperties": (0.6, [False, True, {"type": "integer"}]),
            "patternProperties": (0.25, [{"^x": {}}, {"b$": {"type": "string"}}, {"^a$": {}}]),
            "minProperties": (0.1, [0, 1, 2]),
            "maxProperties": (0.1, [0, 1, 3]),
            "propertyNames": (0.1, [{}, {"enum": ["a", "b"]}, {"pattern": "^a"}, {"minLength": 2}]),
            "dependentRequired": (0.1, [{}, {"a": ["b"]}, {"a": []}]),
            "unevaluatedProperties": (0.05, [True, False]),
            "not": (0.08, [{"required": ["a"]}, {"type": "null"}, False]),
            "oneOf": (0.1, [[{"required": [name]} for name in names] or [{}]]),
        }
        return schema | {k: choose(v) for k, (share, v) in optional.items() if chance() < share}

    def _array(self, depth: int) -> dict[str, Any]:
        chance, choose = self._random.random, self._random.choice
        schema: dict[str, Any] = {"type": "array", "items": self._any(depth - 1)}
        optional = {
            "prefixItems": (0.3, [[self._any(depth - 1)]]),
            "minItems": (0.3, [0, 1, 2]),
            "maxItems": (0.5, [0, 1, 3]),
            "uniqueItems": (0.2, [True, False]),
            "contains": (0.1, [{}, True, {"type": "integer"}]),
            "minContains": (0.1, [0, 2]),
        }
        return schema | {k: choose(v) for k, (share, v) in optional.items() if chance() < share}


async def test_random_schemas(compile_schema: CompileSchema, table: ByteTable) -> None:
    rng = np.random.default_rng(0)
    num_accepted = 0
    end_s = time.monotonic() + SECONDS
    for seed in range(150):
        schema = Maker(seed).schema()
        try:
            constraint = await compile_schema(schema)
        except InvalidRequestError:
            continue
        num_accepted += 1
        answer = random_answer(constraint, table, END, rng)
        if answer is not None:
            # jsonschema follows an option that is the whole schema without end.
            with suppress(RecursionError):
                check_answer(schema, answer)
        if time.monotonic() > end_s and num_accepted >= MIN_ACCEPTED:
            break
    assert num_accepted >= MIN_ACCEPTED


async def test_what_is_no_schema_is_refused_and_breaks_nothing(
    compile_schema: CompileSchema,
) -> None:
    """Keywords with values of a wrong kind."""
    keywords = (
        *("properties", "required", "oneOf", "anyOf", "allOf", "not", "items", "enum", "type"),
        *("patternProperties", "propertyNames", "dependentRequired", "minProperties", "format"),
        *("maxProperties", "uniqueItems", "contains", "minContains", "$ref", "$id", "pattern"),
        *("additionalProperties", "unevaluatedProperties", "if", "then", "const", "$defs"),
    )
    beside = {"oneOf": [{"required": 5}, {"properties": []}], "additionalProperties": False}
    for name in keywords:
        for value in (None, 5, -1, "x", "#", "http://[", [], [5], ["x"], {}, {"a": 5}, [[]], 1.5):
            for schema in ({name: value}, {"anyOf": [{name: value}]}, {**beside, name: value}):
                with suppress(InvalidRequestError):
                    assert await compile_schema(schema)
