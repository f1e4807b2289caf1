"""Schemas of real clients: every random answer satisfies them, as jsonschema sees it."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, StringConstraints
from support.guiding import accepts
from support.schema_walks import check_answer, random_answer

from calculators.guided import GrammarConstraint
from calculators.text.byte_table import ByteTable

CompileSchema = Callable[[Any], Awaitable[GrammarConstraint]]

END = 2
NUM_ANSWERS = 4
A = {"type": "object", "properties": {"k": {"const": "a"}}, "required": ["k"]}
B = {"type": "object", "properties": {"k": {"enum": ["b", "c"]}}, "required": ["k"]}
AB = {"$defs": {"A": A, "B": B, "T": {"const": "t"}}}
REF_A, REF_B = {"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


ONE_OF: list[Any] = [
    {"oneOf": [REF_A, REF_B], **AB},
    {"oneOf": [REF_A, REF_B, {"type": "null"}, {"type": "array", "items": REF_A}], **AB},
    {"type": "array", "items": {"oneOf": [REF_A, {"type": "null"}]}, **AB},
    {**obj(x={"oneOf": [REF_A, REF_B], "description": "d"}), "required": ["x"], **AB},
    {"$ref": "#/$defs/u", "$defs": {**AB["$defs"], "u": {"oneOf": [REF_A, {"$ref": "#/$defs/v"}]},
        "v": {"$ref": "#/$defs/B"}}},
    {"oneOf": [{"$ref": "#/definitions/a~1b"}, {"$ref": "#/definitions/c~0d"},
        {"$ref": "#/definitions/e%25f%20g"}], "definitions": {"a/b": {"type": "integer"},
        "c~d": {"type": "string"}, "e%f g": {"type": "null"}}},
    {"$id": "https://e.com/r", "oneOf": [{"$ref": "#one"}, {"$ref": "#/$defs/two"}],
        "$defs": {"o": {"$anchor": "one", "type": "integer"}, "two": {"type": "string"}}},
    {"$id": "https://e.com/r", "oneOf": [{"$ref": "one"}, {"$ref": "https://e.com/two"}],
        "$defs": {"o": {"$id": "one", "type": "integer"}, "t": {"$id": "two", "type": "string"}}},
    {"$defs": {"e": {"oneOf": [{"type": "number"}, {**obj(op={"enum": ["+", "-"]},
        l={"$ref": "#/$defs/e"}), "required": ["op", "l"]}]}}, "$ref": "#/$defs/e"},
    {"oneOf": [{"type": "integer", "maximum": 3}, {"type": "integer", "minimum": 4}]},
    {"oneOf": [{"type": "string", "maxLength": 2}, {"type": "string", "minLength": 3}]},
    {"oneOf": [{"enum": [1, "a"]}, {"enum": [2, "b", True]}, {"const": 1.5}]},
    {"oneOf": [{"type": "array", "minItems": 1, "items": {"type": "integer"}},
        {"type": "array", "minItems": 1, "items": {"type": "string"}}]},
    # Options that do not exclude each other become narrower.
    {"oneOf": [{"type": "object", "properties": {"bark": {"const": 1}}, "required": ["bark"]},
        {"type": "object", "properties": {"meow": {"const": 2}}, "required": ["meow"]}]},
    {**obj(a={"type": "string"}, b={"type": "string"}),
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {**obj(b={"$ref": "#/components/schemas/B"}), "components": {"schemas": {
        "B": {"oneOf": [{"$ref": "#/components/schemas/X"}, {"$ref": "#/components/schemas/Y"}],
            "discriminator": {"propertyName": "t"}},
        "X": {**obj(t={"enum": ["X"]}), "required": ["t"]},
        "Y": {**obj(t={"enum": ["Y"]}), "required": ["t"]}}}},
    {"oneOf": [{**obj(k={"const": f"k{i}"}), "required": ["k"]} for i in range(300)]},
]  # fmt: skip
RECURSIVE: list[Any] = [
    # Options that contain themselves and become narrower.
    {"$ref": "#/$defs/g", "$defs": {
        "g": {"type": "object", "required": ["name", "of"], "properties": {"of": {
            "type": "array", "maxItems": 2, "items": {
                "oneOf": [{"$ref": "#/$defs/g"}, {"$ref": "#/$defs/i"}]}}}},
        "i": {"type": "object", "required": ["price"], "properties": {"price": {"const": 1}}}}},
    {"$defs": {"n": obj(next={"allOf": [{"$ref": "#/$defs/n"}], "description": "d"})},
        "$ref": "#/$defs/n"},
    {"$defs": {"n": obj(next={"$ref": "#/$defs/n", "type": "object", "default": None})},
        "$ref": "#/$defs/n"},
    obj(next={"anyOf": [{"$ref": "#"}, {"type": "null"}]}, all={"type": "array", "items": {
        "$ref": "#"}}),
]  # fmt: skip
NOTHING_ASKED: list[Any] = [
    {"type": "object", "propertyNames": {"type": "string"}, "unevaluatedProperties": True},
    {"type": "object", "propertyNames": {}, "dependentRequired": {}, "dependentSchemas": {"a": {}}},
    {"type": "object", "dependencies": {"a": []}, "dependentRequired": {"b": []}},
    {"type": "array", "uniqueItems": False, "unevaluatedItems": True, "minContains": 3},
    {"type": "array", "uniqueItems": True, "maxItems": 1, "contains": {}},
    {"type": "string", "uniqueItems": True, "then": {"type": "null"}, "else": False},
    {"if": {"type": "string"}, "not": False, "maxContains": 1, "$comment": "c", "deprecated": True},
    {"$schema": "https://spec.openapis.org/oas/3.1/dialect/base", "type": "integer", "xml": {}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "title": None},
    {**obj(a={}, b={}), "minProperties": 0, "maxProperties": 2},
]
OTHER_WORDS: list[Any] = [
    {"type": "object", "propertyNames": {"enum": ["x", "y"]}, "additionalProperties": {"const": 1}},
    {"type": "object", "propertyNames": {"pattern": "^a"}, "additionalProperties": {"const": 1}},
    {"type": "object", "propertyNames": {"minLength": 3}, "additionalProperties": False},
    {**obj(a={}, b={}, c={}), "minProperties": 2},
    {**obj(a={}, b={}, c={}), "maxProperties": 1},
    {**obj(a={"const": 1}, b={"const": 2}), "dependentRequired": {"a": ["b"]}},
    {**obj(a={"const": 1}, b={"type": "integer"}), "dependentSchemas": {"a": {"required": ["b"]}}},
    {"type": "object", "properties": {"a": {"const": 1}}, "unevaluatedProperties": False},
    {"type": "array", "prefixItems": [{"type": "integer"}], "unevaluatedItems": False},
    {
        "type": "object",
        "properties": {"c": {"const": 3}},
        "allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"$ref": "#/$defs/b"}],
        "unevaluatedProperties": False,
        "$defs": {"b": {"allOf": [{"properties": {"b": {"const": 2}}}]}},
    },
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2},
    {"type": "array", "contains": True, "items": {"type": "integer"}},
    {"not": {"type": ["string", "object", "array"]}},
    {"enum": ["a", "b", 1, True], "not": {"enum": ["a", 1]}},
    {**obj(a={"const": 1}, b={"const": 2}), "not": {"required": ["a"]}},
    {**obj(a={"type": "string"}, never={"not": {}})},
    {"type": "string", "pattern": r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{4,6}$"},
]
PATTERN_PROPERTIES: list[Any] = [
    {**obj(a={"type": "integer"}), "patternProperties": {"^a": {"minimum": 3}}},
    {**obj(ab={"type": "string"}), "patternProperties": {"^a": {"type": "string"}}},
    {**obj(a={"type": "integer"}), "patternProperties": {"^(a|b)$": {"minimum": 3}}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
        "patternProperties": {"^x-": {"type": "string"}}},
    {"type": "object", "properties": {"a": {"type": "integer"}, "x-b": {"const": "q"}},
        "patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": {"type": "null"}},
    {**obj(a={"type": "integer"}), "patternProperties": {"^b$": {"const": 1}, "^c$": {"const": 2}}},
]  # fmt: skip
ANNOTATIONS = [
    *("int32", "int64", "float", "double", "path", "password", "binary", "byte", "regex", "iri"),
    *("uri-reference", "iri-reference", "uri-template", "relative-json-pointer", "idn-email", ""),
]
ENFORCED = [
    *("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"),
    "json-pointer",
]
FORMATS = [{"type": "string", "format": name} for name in (*ENFORCED, *ANNOTATIONS)]
FORMATS.append({"type": "integer", "format": "int64"})
FORMATS.append({"type": "string", "format": "date", "pattern": "^2"})


@pytest.mark.parametrize(
    "schema",
    [*ONE_OF, *RECURSIVE, *NOTHING_ASKED, *OTHER_WORDS, *PATTERN_PROPERTIES, *FORMATS],
    ids=lambda schema: str(schema)[:60],
)
async def test_every_answer_satisfies_its_schema(
    compile_schema: CompileSchema, table: ByteTable, schema: Any
) -> None:
    constraint = await compile_schema(schema)
    rng = np.random.default_rng(0)
    answers = [random_answer(constraint, table, END, rng) for _ in range(NUM_ANSWERS)]
    for answer in answers:
        if answer is not None:
            check_answer(schema, answer)
    assert any(answers)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (ONE_OF[0], ['{"k":"a","x":1}', '{"k":"c"}'], ["{}", '{"k":"d"}']),
        (ONE_OF[2], ['[null,{"k":"a"}]'], ['[{"k":"b"}]']),
        (ONE_OF[8], ['{"op":"+","l":{"op":"-","l":1}}'], ['{"op":"+"}']),
        (ONE_OF[14], ['{"a":"x"}', '{"b":"x"}'], ["{}", '{"a":"x","b":"y"}']),
        (OTHER_WORDS[0], ['{"y":1}', "{}"], ['{"z":1}', '{"x":2}']),
        (OTHER_WORDS[3], ['{"a":1,"c":2}'], ['{"a":1}']),
        (OTHER_WORDS[5], ["{}", '{"b":2}', '{"a":1,"b":2}'], ['{"a":1}']),
        (OTHER_WORDS[9], ['{"a":1,"b":2,"c":3}', '{"a":1}'], ["{}", '{"a":1,"d":1}', '{"a":2}']),
        (OTHER_WORDS[10], ['["b","a"]'], ['["b","b"]', '["a"]']),
        (OTHER_WORDS[15], ['{"a":"x"}'], ['{"never":1}']),
        (FORMATS[0], ['"2024-02-29"', '"1999-12-31"'], ['"2023-02-29"', '"0000-01-01"', '"x"']),
        (FORMATS[1], ['"23:59:59Z"'], ['"23:59:60Z"', '"24:00:00Z"']),
        (FORMATS[2], ['"2024-01-31T00:00:00.5+01:00"'], ['"2024-01-32T00:00:00Z"', '"2024-01-31"']),
        (FORMATS[10], ['"/a~1b/~0"', '""'], ['"a"', '"/~"']),
        (FORMATS[11], ['"anything"'], ["5"]),
        (
            {"type": "object", "properties": {"format": {"type": "string"}, "not": {"const": 1}}},
            ['{"format":"x","not":1}'],
            ['{"not":2}'],
        ),
        ({"const": {"format": "x", "not": {}}}, ['{"format":"x","not":{}}'], ["{}"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)  # fmt: skip
async def test_no_more_and_no_less_than_the_schema_is_let_through(
    compile_schema: CompileSchema, table: ByteTable, schema: Any, good: list[str], bad: list[str]
) -> None:
    constraint = await compile_schema(schema)
    for text in good:
        assert accepts(constraint, table, END, text), text
    for text in bad:
        assert not accepts(constraint, table, END, text), text


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: Annotated[str, StringConstraints(min_length=1, max_length=5)]


class Node(BaseModel):
    """A tree."""

    value: int
    children: list["Node"] = []
    parent: "Node | None" = Field(None, description="above it")


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Zoo(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="the name", examples=["x"])
    age: int | None = None
    size: int | str | None = 3
    color: Color
    level: Level = Level.LOW
    pets: list[Pet]


class Times(BaseModel):
    when: datetime
    day: date
    took: timedelta
    hour: time
    id: UUID
    url: AnyUrl
    price: Decimal


class Maps(BaseModel):
    counts: dict[str, int]
    colors: dict[Color, float]
    matrix: list[list[float]]
    pair: tuple[int, str]
    flags: frozenset[Literal["a", "b"]] = frozenset()
    ratio: Annotated[float, Field(ge=0, le=1)]
    anything: Any = None


@pytest.mark.parametrize("model", [Zoo, Times, Maps, Node])
async def test_answers_are_what_a_pydantic_model_takes(
    compile_schema: CompileSchema, table: ByteTable, model: type[BaseModel]
) -> None:
    schema = model.model_json_schema()
    constraint = await compile_schema(schema)
    rng = np.random.default_rng(1)
    answers = [random_answer(constraint, table, END, rng) for _ in range(2 * NUM_ANSWERS)]
    for answer in answers:
        if answer is not None:
            check_answer(schema, answer)
            if model is not Times:
                model.model_validate_json(answer)
    assert any(answers)
