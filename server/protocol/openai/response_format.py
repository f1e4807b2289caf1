"""The form of the answer that a client asks for: `response_format`, or `text.format`."""

from collections.abc import Mapping
from typing import Any

from server.errors import InvalidRequestError, did_you_mean
from server.payloads import AnswerFormat, AnswerKind
from server.protocol.refusal import expect, refuse_value

__all__ = ["RESPONSE_FORMAT", "TEXT_FORMAT", "parse_response_format", "parse_text_format"]

RESPONSE_FORMAT = "response_format"
TEXT_FORMAT = "text.format"
# `json` and `regex` are TGI's names, `grammar` is Fireworks', `structural_tag` vLLM's.
KINDS = ("text", "json_object", "json_schema", "json", "regex", "grammar", "structural_tag")
# The members that say what the answer looks like, by kind; the first that is there counts.
VALUE_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "text": (),
    "json_object": ("schema", "value"),
    "json_schema": ("json_schema", "schema"),
    "json": ("value", "schema"),
    "regex": ("value", "pattern", "regex"),
    "grammar": ("grammar", "value"),
    "structural_tag": ("format", "structures", "triggers"),
}
TEXT_KINDS: Mapping[str, AnswerKind] = {"regex": "regex", "grammar": "grammar"}
# What may accompany a schema. Answers follow the schema, whatever `strict` says.
LABELS: Mapping[str, type] = {"name": str, "description": str, "strict": bool}


def parse_response_format(found: object, unknown: list[str] | None = None) -> AnswerFormat | None:
    """What the answer must look like; None for plain text.

    Names that are not known are added to `unknown`. Raises InvalidRequestError.
    """
    return _parse(found, RESPONSE_FORMAT, unknown if unknown is not None else [])


def parse_text_format(found: object, unknown: list[str] | None = None) -> AnswerFormat | None:
    """The same for /responses, where the members of a schema are next to its type."""
    return _parse(found, TEXT_FORMAT, unknown if unknown is not None else [])


def _parse(found: object, where: str, unknown: list[str]) -> AnswerFormat | None:
    if found is None:
        return None
    found = expect(dict, found, where, where)
    members = {name: value for name, value in found.items() if value is not None}
    kind = members.pop("type", None)
    if not (isinstance(kind, str) and kind in KINDS):
        refuse_value(f"{where}.type", f"must be one of {', '.join(KINDS)}", kind, where)
    possible = VALUE_MEMBERS[kind]
    _note_unknown(members, (*possible, *LABELS), where, unknown)
    if kind == "text":
        return None
    if kind == "structural_tag":
        return AnswerFormat("structural_tag", members, where)
    name = next((name for name in possible if name in members), None)
    value = None if name is None else members[name]
    place = f"{where}.{name or _missing_member(kind, where)}"
    if kind in TEXT_KINDS:
        return AnswerFormat(TEXT_KINDS[kind], expect(str, value, place, where), where)
    if kind == "json_object" and value is None:
        return AnswerFormat("json", {"type": "object"}, where)
    if name == "json_schema":
        members = expect(dict, value, place, where)
        _note_unknown(members, ("schema", *LABELS), place, unknown)
        value, place = members.get("schema"), f"{place}.schema"
        if value is None:
            hint = "".join(did_you_mean(name, ["schema"]) for name in members if name not in LABELS)
            raise InvalidRequestError(f"{place} is missing; it must be a JSON schema{hint}", where)
    for label, label_kind in LABELS.items():
        if members.get(label) is not None:
            expect(label_kind, members[label], f"{place.rpartition('.')[0]}.{label}", where)
    return AnswerFormat("json", expect(dict, value, place, where), where)


def _missing_member(kind: str, where: str) -> str:
    """The member that a message names where none is there."""
    return "schema" if where == TEXT_FORMAT and kind == "json_schema" else VALUE_MEMBERS[kind][0]


def _note_unknown(
    members: Mapping[str, Any], known: tuple[str, ...], where: str, unknown: list[str]
) -> None:
    unknown += (f"{where}.{name}" for name in members if name not in known)
