"""Pydantic's errors -> one short sentence for the client."""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from server.errors import InvalidRequestError, did_you_mean
from server.protocol.refusal import expect, refuse_value

__all__ = ["FieldRules", "validate_fields"]

ModelT = TypeVar("ModelT", bound=BaseModel)

EXPECTED = {
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be an integer",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} character(s)",
    "too_long": "must have at most {max_length} items",
    "string_type": "must be a string",
}


# The names of unknown fields are the client's, and the error repeats them.
MAX_NAME_LENGTH = 100
# Pydantic reports every unknown field, so that many would take seconds.
MAX_FIELDS = 1000


class FieldRules:
    """What an endpoint does with the fields that its pydantic model does not have.

    `neutral` are fields for features that are not here, with the values that ask for nothing; other
    values are refused. `labels` describe the caller or the call and change no answer; only their
    type is checked.
    """

    def __init__(
        self, neutral: Mapping[str, Collection[object]], labels: Mapping[str, type]
    ) -> None:
        self._neutral = neutral
        self._labels = labels

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that remain for the model. Raises InvalidRequestError."""
        rest = {}
        for name, value in fields.items():
            if value is None:  # null is "unset" in every field
                continue
            if name in self._labels:
                expect(self._labels[name], value, name, name)
            elif name in self._neutral:
                self._check_neutral(name, value)
            else:
                rest[name] = value
        return rest

    def describe(self, schema: dict[str, Any]) -> None:
        """Complete the JSON schema of the endpoint's model (pydantic's json_schema_extra)."""
        properties = schema["properties"]
        for name in properties.keys() - set(schema.get("required", ())):
            properties[name] = _nullable(properties[name])
        for name, possible in self._neutral.items():
            properties[name] = {"enum": [*possible, None]}
        for name, kind in self._labels.items():
            properties[name] = {"type": ["string" if kind is str else "object", "null"]}

    def names(self) -> set[str]:
        """Every field that has a rule."""
        return self._neutral.keys() | self._labels.keys()

    def _check_neutral(self, name: str, value: object) -> None:
        possible = self._neutral[name]
        # In Python 1 == True, in JSON they differ.
        if any(type(value) is type(neutral) and value == neutral for neutral in possible):
            return
        if not possible:
            raise InvalidRequestError(f"{name} is not supported", name)
        only = " or ".join(json.dumps(neutral) for neutral in possible)
        problem = f"{name} is not supported; it can only be {only}"
        raise InvalidRequestError(problem, name)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema with null added, which means unset in every optional field.

    The default is removed: it stands for "unset" here, and clients may not be able to send it.
    """
    schema.pop("default", None)
    null = {"type": "null"}
    if null in schema.get("anyOf", ()):
        return schema
    return {"anyOf": [schema, null]}


def validate_fields(model: type[ModelT], fields: Mapping[str, Any], rules: FieldRules) -> ModelT:
    """Build the pydantic model of a request. Raises InvalidRequestError for the first problem."""
    _check_num_fields(fields)
    try:
        return model.model_validate(rules.apply(fields))
    except ValidationError as error:
        known = {*_field_names(model), *rules.names()}
        _refuse(error.errors(include_url=False)[0], known)


def _check_num_fields(fields: Mapping[str, Any]) -> None:
    for name, value in chain([("the body", fields)], fields.items()):
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            where = name[:MAX_NAME_LENGTH]
            problem = f"{where} has {len(value)} fields; at most {MAX_FIELDS} are possible"
            raise InvalidRequestError(problem, None if value is fields else where)


def _field_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Names as in messages: those of an inner object have its name as a prefix."""
    for name, info in model.model_fields.items():
        yield prefix + name
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _field_names(kind, f"{prefix}{name}.")


def _refuse(problem: ErrorDetails, known: Collection[str]) -> NoReturn:
    where = ".".join(str(part) for part in problem["loc"])[:MAX_NAME_LENGTH]
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(where, sorted(known))
        raise InvalidRequestError(f"unknown field {where!r}{hint}", where)
    if problem["type"] == "missing":
        raise InvalidRequestError(f"{where} is missing", where)
    expected = EXPECTED.get(problem["type"])
    if expected is None:
        raise InvalidRequestError(f"{where}: {problem['msg']}", where)
    expected = expected.format(**problem.get("ctx", {}))
    refuse_value(where, expected, problem["input"], where)
