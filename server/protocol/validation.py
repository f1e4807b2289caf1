"""Pydantic's errors -> one short sentence for the client."""

from collections.abc import Mapping
from itertools import chain
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from server.errors import InvalidRequestError, describe_value, did_you_mean
from server.protocol.field_rules import MAX_NAME_CHARACTERS, FieldRules
from server.protocol.refusal import refuse_value

__all__ = ["validate_fields"]

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

MAX_FIELDS = 1000
NO_SENTENCES: Mapping[str, str] = {}


def validate_fields(
    model: type[ModelT],
    fields: Mapping[str, Any],
    rules: FieldRules,
    sentences: Mapping[str, str] = NO_SENTENCES,
) -> ModelT:
    """Build the pydantic model of a request. Raises InvalidRequestError for the first problem.

    `sentences` are what another server says of a wrong field, by the name of the field, or by name
    and pydantic's type of error: "max_length int_type".
    """
    _check_num_fields(fields)
    try:
        return model.model_validate(rules.apply(fields))
    except ValidationError as error:
        _refuse(error.errors(include_url=False)[0], model, sentences)


def _check_num_fields(fields: Mapping[str, Any]) -> None:
    for name, value in chain([("the body", fields)], fields.items()):
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            where = name[:MAX_NAME_CHARACTERS]
            problem = f"{where} has {len(value)} fields; at most {MAX_FIELDS} are possible"
            raise InvalidRequestError(problem, None if value is fields else where)


def _refuse(
    problem: ErrorDetails, model: type[BaseModel], sentences: Mapping[str, str]
) -> NoReturn:
    where = ".".join(str(part) for part in problem["loc"])[:MAX_NAME_CHARACTERS]
    sentence = sentences.get(f"{where} {problem['type']}", sentences.get(where))
    if sentence is not None:
        found = describe_value(problem["input"])
        raise InvalidRequestError(f"{sentence}, found {found}", where)
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(where, sorted(model.model_fields))
        raise InvalidRequestError(f"unknown field {where!r}{hint}", where)
    if problem["type"] == "missing":
        raise InvalidRequestError(f"{where} is missing", where)
    expected = EXPECTED.get(problem["type"])
    if expected is None:
        raise InvalidRequestError(f"{where}: {problem['msg']}", where)
    expected = expected.format(**problem.get("ctx", {}))
    refuse_value(where, expected, problem["input"], where)
