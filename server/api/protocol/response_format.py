"""The form that a client asks the answer to have: `response_format`."""

from collections.abc import Mapping
from typing import Any, NoReturn

from server.errors import InvalidRequestError, describe_value, did_you_mean

__all__ = ["parse_response_format"]

FIELD = "response_format"
KINDS = ("text", "json_object", "json_schema")
# What a client says about its schema beside it. An answer follows its schema, strict or not.
SCHEMA_MEMBERS: Mapping[str, type] = {
    "schema": dict,
    "name": str,
    "description": str,
    "strict": bool,
}


def parse_response_format(response_format: object) -> Mapping[str, Any] | None:
    """The JSON schema that the answer must satisfy; None for plain text."""
    if response_format is None:
        return None
    if not isinstance(response_format, dict):
        _fail(FIELD, "must be an object", response_format)
    kind = response_format.get("type")
    if kind not in KINDS:
        _fail(f"{FIELD}.type", f"must be one of {', '.join(KINDS)}", kind)
    known = ("type", "json_schema") if kind == "json_schema" else ("type",)
    _check_members(response_format, known, FIELD)
    if kind == "json_schema":
        return _parse_json_schema(response_format.get("json_schema"), f"{FIELD}.json_schema")
    return {"type": "object"} if kind == "json_object" else None


def _parse_json_schema(json_schema: object, where: str) -> Mapping[str, Any]:
    if not isinstance(json_schema, dict):
        _fail(where, "must be an object", json_schema)
    _check_members(json_schema, tuple(SCHEMA_MEMBERS), where)
    for name, kind in SCHEMA_MEMBERS.items():
        value = json_schema.get(name)
        if value is not None and not isinstance(value, kind):
            words = {dict: "an object", str: "a string", bool: "true or false"}
            _fail(f"{where}.{name}", f"must be {words[kind]}", value)
    schema: Mapping[str, Any] | None = json_schema.get("schema")
    if schema is None:
        _fail(f"{where}.schema", "must be an object", None)
    return schema


def _check_members(found: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in found:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InvalidRequestError(f"{where}: unknown field {name[:100]!r}{hint}", FIELD)


def _fail(where: str, expected: str, found: object) -> NoReturn:
    raise InvalidRequestError(f"{where} {expected}, found {describe_value(found)}", FIELD)
