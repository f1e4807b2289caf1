"""vLLM's `structured_outputs`, and the older and other servers' fields for the same."""

import json
from collections.abc import Mapping
from typing import Any

from server.errors import InvalidRequestError
from server.payloads import AnswerFormat, AnswerKind
from server.protocol.refusal import expect, refuse_value

__all__ = ["GUIDED_FIELDS", "choose_format", "parse_guided", "parse_structured_outputs"]

# vLLM's older names, and those of SGLang and llama.cpp.
GUIDED_FIELDS: Mapping[str, AnswerKind] = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "structural_tag": "structural_tag",
    "json_schema": "json",
    "regex": "regex",
    "ebnf": "grammar",
    "grammar": "grammar",
}
KINDS: tuple[AnswerKind, ...] = ("json", "regex", "choice", "grammar", "structural_tag")
FLAGS = ("json_object", "disable_any_whitespace", "disable_additional_properties")
BACKEND_MEMBERS = ("backend", "disable_fallback", "_backend", "_backend_was_auto")
MAX_CHOICES = 10_000


def parse_structured_outputs(found: object, unknown: list[str]) -> AnswerFormat | None:
    """What `structured_outputs` asks for. Raises InvalidRequestError.

    Names that are not known are added to `unknown`.
    """
    where = "structured_outputs"
    if found is None:
        return None
    found = expect(dict, found, where)
    members = {name: value for name, value in found.items() if value is not None}
    flags = {name: expect(bool, members.get(name, False), f"{where}.{name}") for name in FLAGS}
    for name in ("whitespace_pattern", "disable_additional_properties"):
        if members.get(name):
            raise InvalidRequestError(f"{where}.{name} is not supported", where)
    known = (*KINDS, *FLAGS, *BACKEND_MEMBERS, "whitespace_pattern")
    unknown += (f"{where}.{name}" for name in members if name not in known)
    formats = [
        _make(kind, members[kind], f"{where}.{kind}", where) for kind in KINDS if kind in members
    ]
    if flags["json_object"]:
        formats.append(AnswerFormat("json", {"type": "object"}, where))
    if not formats:
        return None
    if len(formats) > 1:
        raise InvalidRequestError(f"{where} can only have one of {', '.join(KINDS)}", where)
    return formats[0].without_white_space() if flags["disable_any_whitespace"] else formats[0]


def parse_guided(name: str, value: object) -> AnswerFormat | None:
    """What one of GUIDED_FIELDS asks for; empty texts and lists ask for nothing."""
    if value is None or value in ("", []):
        return None
    return _make(GUIDED_FIELDS[name], value, name, name)


def choose_format(formats: list[AnswerFormat | None]) -> AnswerFormat | None:
    """The only one of them that asks for something. Raises InvalidRequestError for two."""
    found = [answer_format for answer_format in formats if answer_format is not None]
    if len(found) > 1:
        first, second = found[0].field, found[1].field
        problem = f"{first} and {second} both say what the answer must look like; send one of them"
        raise InvalidRequestError(problem, second)
    return found[0] if found else None


def _make(kind: AnswerKind, value: object, where: str, field: str) -> AnswerFormat:
    if kind in ("json", "structural_tag"):
        value = _parse_json(value, where, field)
    elif kind == "choice":
        _check_choices(value, where, field)
    else:
        expect(str, value, where, field)
    return AnswerFormat(kind, value, field)


def _parse_json(value: object, where: str, field: str) -> dict[str, Any]:
    """An object, or the text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"{where} is not JSON: {error}"[:300], field) from error
    return expect(dict, value, where, field)


def _check_choices(value: object, where: str, field: str) -> None:
    choices = expect(list, value, where, field)
    if not choices:
        raise InvalidRequestError(f"{where} is empty; it needs at least one text", field)
    if len(choices) > MAX_CHOICES:
        problem = f"{where} has {len(choices)} texts; at most {MAX_CHOICES} are possible"
        raise InvalidRequestError(problem, field)
    for i, choice in enumerate(choices):
        if not (isinstance(choice, str) and choice):
            refuse_value(f"{where}[{i}]", "must be a text that is not empty", choice, field)
