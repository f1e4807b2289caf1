"""The form of the answer that a client asks for: `response_format`, or `text.format`."""

from collections.abc import Mapping
from typing import Any

from server.errors import InvalidRequestError, did_you_mean
from server.protocol.refusal import expect, refuse_value

__all__ = ["parse_response_format", "parse_text_format"]

KINDS = ("text", "json_object", "json_schema")
# The schema and what may accompany it. Answers follow the schema, whatever `strict` says.
SCHEMA_MEMBERS: Mapping[str, type] = {
    "schema": dict,
    "name": str,
    "description": str,
    "strict": bool,
}


def parse_response_format(response_format: object) -> Mapping[str, Any] | None:
    """The JSON schema that the answer must satisfy; None for plain text."""
    where = "response_format"
    if response_format is None:
        return None
    kind, rest = _parse_kind(response_format, where)
    if kind == "json_schema":
        _check_members(rest, ("json_schema",), where, where)
        return _parse_json_schema(rest.get("json_schema"), f"{where}.json_schema", where)
    _check_members(rest, (), where, where)
    return {"type": "object"} if kind == "json_object" else None


def parse_text_format(text_format: object) -> Mapping[str, Any] | None:
    """The same for /responses, where the members of a schema are next to its type."""
    where = "text.format"
    if text_format is None:
        return None
    kind, rest = _parse_kind(text_format, where)
    if kind == "json_schema":
        return _parse_json_schema(rest, where, where)
    _check_members(rest, (), where, where)
    return {"type": "object"} if kind == "json_object" else None


def _parse_kind(found: object, where: str) -> tuple[str, Mapping[str, Any]]:
    """The type, and the other members."""
    found = expect(dict, found, where, where)
    kind = found.get("type")
    if kind not in KINDS:
        refuse_value(f"{where}.type", f"must be one of {', '.join(KINDS)}", kind, where)
    return kind, {name: value for name, value in found.items() if name != "type"}


def _parse_json_schema(json_schema: object, where: str, param: str) -> Mapping[str, Any]:
    json_schema = expect(dict, json_schema, where, param)
    _check_members(json_schema, tuple(SCHEMA_MEMBERS), where, param)
    for name, kind in SCHEMA_MEMBERS.items():
        value = json_schema.get(name)
        if value is not None:
            expect(kind, value, f"{where}.{name}", param)
    return expect(dict, json_schema.get("schema"), f"{where}.schema", param)


def _check_members(
    found: Mapping[str, Any], known: tuple[str, ...], where: str, param: str
) -> None:
    for name in found:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InvalidRequestError(f"{where}: unknown field {name[:100]!r}{hint}", param)
