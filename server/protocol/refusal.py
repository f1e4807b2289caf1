"""Refuses request values that cannot be used."""

import re
from collections.abc import Mapping
from typing import NoReturn, TypeVar

from server.errors import InvalidRequestError, describe_value

__all__ = ["expect", "refuse_value"]

T = TypeVar("T")

KINDS: Mapping[type, str] = {
    bool: "true or false",
    dict: "an object",
    list: "a list",
    str: "a string",
}


def expect(kind: type[T], value: object, where: str, param: str | None = None) -> T:
    """Return a value of this kind, one of KINDS. Raises InvalidRequestError for any other."""
    if not isinstance(value, kind):
        refuse_value(where, f"must be {KINDS[kind]}", value, param)
    return value


def refuse_value(where: str, expected: str, found: object, param: str | None = None) -> NoReturn:
    """Raise InvalidRequestError for the value at `where`, as in "messages[0].role must be …".

    `param` is the request field that the error names, if it is not the first name of `where`.
    """
    field = param or re.split(r"[.\[]", where, maxsplit=1)[0]
    raise InvalidRequestError(f"{where} {expected}, found {describe_value(found)}", field)
