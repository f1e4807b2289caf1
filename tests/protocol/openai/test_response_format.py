"""response_format: what it asks for, and what is refused."""

from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.protocol.openai.response_format import parse_response_format

SCHEMA = {"type": "object", "properties": {"a": False}}


@pytest.mark.parametrize("response_format", [None, {"type": "text"}])
def test_plain_text_has_no_schema(response_format: Any) -> None:
    assert parse_response_format(response_format) is None


def test_json_mode_is_any_object() -> None:
    assert parse_response_format({"type": "json_object"}) == {"type": "object"}


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
    assert parse_response_format(asked) == SCHEMA


def schema_format(**members: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": members}


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ("text", "response_format must be an object, found the string 'text'"),
        ([], "response_format must be an object, found a list"),
        ({}, "response_format.type must be one of text, json_object, json_schema, found null"),
        ({"type": "xml"}, "json_schema, found the string 'xml'"),
        ({"type": ["text"]}, "json_schema, found a list"),
        ({"type": "text", "x": 1}, "response_format: unknown field 'x'"),
        ({"type": "json_object", "schema": {}}, "response_format: unknown field 'schema'"),
        ({"type": "json_schema"}, "response_format.json_schema must be an object, found null"),
        ({"type": "json_schema", "schema": {}}, "response_format: unknown field 'schema'"),
        (schema_format(), "response_format.json_schema.schema must be an object, found null"),
        (schema_format(schema=True), "json_schema.schema must be an object, found true"),
        (schema_format(schema="{}"), "json_schema.schema must be an object, found the string"),
        (schema_format(schema={}, name=1), "json_schema.name must be a string, found the number"),
        (schema_format(schema={}, strict=1), "json_schema.strict must be true or false, found"),
        (schema_format(shema={}), "unknown field 'shema'; did you mean 'schema'"),
        ({"type": "text", "x" * 5000: 1}, "response_format: unknown field 'xxx"),
    ],
)
def test_refused_formats(response_format: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_response_format(response_format)
    assert message in str(error.value)
    assert error.value.param == "response_format"
    assert len(str(error.value)) < 300
