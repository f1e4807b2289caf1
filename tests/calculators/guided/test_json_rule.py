"""The limits of JSON schemas, checked before llguidance compiles them."""

import json
from typing import Any

import pytest

from calculators.guided.json_rule import MAX_CHARACTERS, MAX_OBJECTS, json_rules
from server.errors import InvalidRequestError


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def deep_list(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def reference_chain(length: int) -> dict[str, Any]:
    definitions = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(length)}
    return {"$defs": {**definitions, f"d{length}": {}}, "$ref": "#/$defs/d0"}


def test_a_schema_stands_in_the_rule_as_it_is_but_for_white_space() -> None:
    schema = {"type": "object", "properties": {"ß\u2028": {"enum": ["\n", 1]}}}
    (rule,) = json_rules([schema], "f")
    keyword, _, text = rule.partition(" ")
    found = json.loads(text)
    assert keyword == "%json"
    assert list(found.pop("x-guidance")) == ["whitespace_pattern"]
    assert found == schema
    assert "\n" not in text, "the grammar is a line"


def test_a_client_sets_no_options_of_the_library() -> None:
    (rule,) = json_rules([{"x-guidance": {"lenient": True}}], "f")
    assert "lenient" not in rule


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (reference_chain(20_000), "too many objects; at most 2000"),
        (nested(100), "too many levels; at most 100"),
        ({"enum": deep_list(900)}, "too many levels"),
        ({"enum": ["x" * 100] * 6000}, "too many characters; at most 524288"),
        ({"const": "x" * MAX_CHARACTERS}, "too many characters"),
        ({"required": [f"a{i}" for i in range(2001)]}, "too many required names; at most 2000"),
        ({"patternProperties": {f"a{i}": {} for i in range(65)}}, "too many patternProperties"),
        ({"multipleOf": 99991}, "too many remainders for its multipleOf; at most 10000"),
        ({"multipleOf": 999.91}, "too many remainders"),
        ({"multipleOf": 10**4000 + 1}, "too many remainders"),
        ({"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}, "too many remainders"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_be_too_much_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(
        InvalidRequestError, match=f"response_format: {message}.* are possible in a"
    ) as e:
        json_rules([schema], "response_format")
    assert e.value.param == "response_format"


@pytest.mark.parametrize(
    "schema",
    [
        nested(99),
        {"anyOf": [{}] * (MAX_OBJECTS - 1)},
        {"enum": [f"value {i}" for i in range(10_000)]},
        {"multipleOf": 10**12},
        {"multipleOf": 0.01},
        {"multipleOf": 9999},
        {"multipleOf": 0},
        {"multipleOf": -3},
        {"multipleOf": True},
        {"multipleOf": "3"},
        {"multipleOf": float("inf")},
        {"allOf": [{"multipleOf": 60}] * 50},
        {"patternProperties": [1, 2]},
    ],
    ids=lambda schema: str(schema)[:30],
)
def test_what_is_large_but_not_too_large_passes(schema: dict[str, Any]) -> None:
    assert json_rules([schema], "f")


def test_the_schemas_of_a_request_count_together() -> None:
    schema = {"anyOf": [{}] * 999}
    assert len(json_rules([schema] * 2, "tools")) == 2
    with pytest.raises(InvalidRequestError, match="tools: too many objects"):
        json_rules([schema] * 3, "tools")
