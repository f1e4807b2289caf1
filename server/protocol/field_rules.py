"""What an endpoint does with the fields of a request that its pydantic model does not have."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from server.errors import InvalidRequestError, did_you_mean
from server.protocol.refusal import expect

__all__ = ["NO_FIELDS", "Alias", "FieldRules", "Hint", "Refused", "Rule", "UnknownFields"]

EMPTY: tuple[object, ...] = (False, 0, "", [], {})
# The names of unknown fields are the client's, and errors and headers repeat them.
MAX_NAME_CHARACTERS = 100

JSON_TYPES: Mapping[type, str] = {bool: "boolean", dict: "object", list: "array", str: "string"}


@dataclass(frozen=True, slots=True)
class Hint:
    """A field that is accepted without effect, since no answer would be wrong without it.

    Only its type is checked, one of refusal.KINDS; None takes any value.
    """

    meaning: str
    kind: type | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A field that would change the answer and cannot be had.

    Values of `neutral` ask for nothing and are accepted, as null is.
    """

    reason: str
    neutral: tuple[object, ...] = EMPTY

    def allows(self, value: object) -> bool:
        """Whether the value asks for nothing. In Python 1 == True, in JSON they differ."""
        return any(
            value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
            for neutral in self.neutral
        )


@dataclass(frozen=True, slots=True)
class Alias:
    """Another server's name of the field `name`."""

    name: str


Rule = Hint | Refused | Alias


@dataclass(frozen=True, slots=True)
class UnknownFields:
    """The names in a request that its endpoint does not know; `known` are those it accepts."""

    names: tuple[str, ...] = ()
    known: Collection[str] = ()

    def describe(self, name: str) -> str:
        """The name as a message shows it, with similar names."""
        return f"unknown field {name!r}{did_you_mean(name, sorted(self.known))}"

    def refuse(self) -> None:
        """Raise InvalidRequestError for the first name, if there is one."""
        for name in self.names:
            raise InvalidRequestError(self.describe(name), name)


NO_FIELDS = UnknownFields()


class FieldRules:
    """The rules of one endpoint, by the name of the field."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = rules

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that remain for the model. Raises InvalidRequestError."""
        # Null is "unset" in every field.
        found = {name: value for name, value in fields.items() if value is not None}
        rest = {name: value for name, value in found.items() if name not in self.rules}
        for name in (name for name in found if name in self.rules):
            match self.rules[name]:
                case Alias(other):
                    rest.setdefault(other, found[name])
                case Hint(kind=kind) if kind is not None:
                    expect(kind, found[name], name, name)
                case Refused() as rule if not rule.allows(found[name]):
                    raise _refusal(name, rule)
        return rest

    def describe(self, schema: dict[str, Any]) -> None:
        """Complete the JSON schema of the endpoint's model (pydantic's json_schema_extra)."""
        properties = schema["properties"]
        for name in properties.keys() - set(schema.get("required", ())):
            properties[name] = _nullable(properties[name])
        for name, rule in self.rules.items():
            match rule:
                case Alias(other):
                    properties[name] = properties[other]
                case Hint(kind=None):
                    properties[name] = {}
                case Hint(kind=kind):
                    assert kind is not None
                    properties[name] = {"type": [JSON_TYPES[kind], "null"]}
                case Refused(neutral=neutral):
                    properties[name] = {"enum": [*neutral, None]}

    def unknown_fields(self, fields: BaseModel, others: Iterable[str] = ()) -> UnknownFields:
        """The names that neither the model nor a rule knows, those of inner objects as well.

        `others` were found where the model does not look.
        """
        names = tuple(name[:MAX_NAME_CHARACTERS] for name in (*_extra_names(fields), *others))
        if not names:
            return NO_FIELDS
        accepted = (name for name, rule in self.rules.items() if not isinstance(rule, Refused))
        return UnknownFields(names, {*_known_names(fields), *accepted})


def _refusal(name: str, rule: Refused) -> InvalidRequestError:
    only = " or ".join(json.dumps(value) for value in rule.neutral)
    possible = f"; it can only be {only}" if only and rule.neutral is not EMPTY else ""
    # The reason is also a cell of the table in the docs.
    reason = rule.reason.replace("`", "")
    return InvalidRequestError(f"{name} is not supported{possible}: {reason}", name)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema with null added, which means unset in every optional field.

    The default is removed: it stands for "unset" here, and clients may not be able to send it.
    """
    schema.pop("default", None)
    null = {"type": "null"}
    if null in schema.get("anyOf", ()):
        return schema
    return {"anyOf": [schema, null]}


def _extra_names(fields: BaseModel, prefix: str = "") -> list[str]:
    names = [prefix + name for name in fields.model_extra or ()]
    for name in type(fields).model_fields:
        inner = getattr(fields, name)
        if isinstance(inner, BaseModel):
            names += _extra_names(inner, f"{prefix}{name}.")
    return names


def _known_names(fields: BaseModel, prefix: str = "") -> list[str]:
    """Names as in messages: those of an inner object have its name as a prefix."""
    names = []
    for name in type(fields).model_fields:
        names.append(prefix + name)
        inner = getattr(fields, name)
        if isinstance(inner, BaseModel):
            names += _known_names(inner, f"{prefix}{name}.")
    return names
