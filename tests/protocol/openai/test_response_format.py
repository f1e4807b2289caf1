"""response_format: what it asks for, and what is refused."""

from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import AnswerFormat
from server.protocol.openai.response_format import parse_response_format

SCHEMA = {"type": "object", "properties": {"a": False}}


@pytest.mark.parametrize("response_format", [None, {"type": "text"}])
def test_plain_text_has_no_schema(response_format: Any) -> None:
    assert parse_response_format(response_format) is None


def test_json_mode_is_any_object() -> None:
    found = parse_response_format({"type": "json_object", "schema": None})
    assert found == AnswerFormat("json", {"type": "object"})


@pytest.mark.parametrize(
    ("response_format", "kind", "value"),
    [
        ({"type": "json_object", "schema": SCHEMA}, "json", SCHEMA),
        ({"type": "json_schema", "schema": SCHEMA}, "json", SCHEMA),
        ({"type": "json", "value": SCHEMA}, "json", SCHEMA),
        ({"type": "regex", "value": "a+"}, "regex", "a+"),
        ({"type": "grammar", "grammar": 'root ::= "a"'}, "grammar", 'root ::= "a"'),
        (
            {"type": "structural_tag", "format": {"type": "any_text"}},
            "structural_tag",
            {"format": {"type": "any_text"}},
        ),
    ],
)
def test_forms_of_other_servers(response_format: Any, kind: Any, value: Any) -> None:
    assert parse_response_format(response_format) == AnswerFormat(kind, value)


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"name": "n", "strict": True, "description": "d"},
        {"strict": False},
        {"name": None, "strict": None, "description": None},
    ],
)
def test_a_schema_is_passed_on_unchanged(beside: dict[str, Any]) -> None:
    asked = {"type": "json_schema", "json_schema": {"schema": SCHEMA, **beside}}
    assert parse_response_format(asked) == AnswerFormat("json", SCHEMA)


def schema_format(**members: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": members}


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ("text", "response_format must be an object, found the string 'text'"),
        ([], "response_format must be an object, found a list"),
        ({}, "response_format.type must be one of text, json_object, json_schema, json, regex"),
        ({"type": "xml"}, "structural_tag, found the string 'xml'"),
        ({"type": ["text"]}, "structural_tag, found a list"),
        ({"type": "json_object", "schema": 5}, "response_format.schema must be an object, found"),
        ({"type": "json_schema"}, "response_format.json_schema must be an object, found null"),
        ({"type": "regex"}, "response_format.value must be a string, found null"),
        (
            schema_format(),
            "response_format.json_schema.schema is missing; it must be a JSON schema",
        ),
        (schema_format(schema=True), "json_schema.schema must be an object, found true"),
        (schema_format(schema="{}"), "json_schema.schema must be an object, found the string"),
        (schema_format(schema={}, name=1), "json_schema.name must be a string, found the number"),
        (schema_format(schema={}, strict=1), "json_schema.strict must be true or false, found"),
        (schema_format(shema={}), "schema is missing; it must be a JSON schema; did you mean"),
    ],
)
def test_refused_formats(response_format: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_response_format(response_format)
    assert message in str(error.value)
    assert error.value.param == "response_format"
    assert len(str(error.value)) < 300
