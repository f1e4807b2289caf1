"""Bytes of a request -> a JSON object, within limits that later code relies on."""

import json
from codecs import BOM_UTF8
from typing import Any, NoReturn

from server.errors import InvalidRequestError, describe_value

__all__ = ["check_num_marks", "parse_json_object"]

MAX_DEPTH = 100
# More lists, objects and members take seconds to parse, in which no other request is served. Marks
# inside strings count as well; no model has room for a text with so many.
MAX_MARKS = 1_000_000
# Token ids parse faster, and a request may hold many prompts of them.
MAX_COMMAS = 4_000_000


def parse_json_object(
    body: bytes, *, in_thread: bool = False, allows_nan: bool = False
) -> dict[str, Any]:
    """Parse a request body. Raises InvalidRequestError for anything but a sane JSON object.

    `in_thread` lets other threads run meanwhile, but is slower: json.loads only releases the
    interpreter where it calls a Python function, here for every number. `allows_nan` also takes
    NaN, Infinity and -Infinity, which are not JSON.
    """
    if not body.strip():
        raise InvalidRequestError("the request has no body; it must be a JSON object")
    check_num_marks(body)
    try:
        value = json.loads(
            body.removeprefix(BOM_UTF8).decode(),
            parse_constant=None if allows_nan else _refuse_constant,
            parse_int=_to_int if in_thread else None,
            parse_float=_to_float if in_thread else None,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequestError(f"the body is not JSON at {where}: {error.msg}") from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise InvalidRequestError("the body holds a number with too many digits") from error
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the body must be a JSON object, found {describe_value(value)}")
    # Walk through the whole body only if its bytes say that there may be something to find.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if b"\\ud" in body or b"\\uD" in body:
        _check_text(value)
    return value


def check_num_marks(body: bytes) -> None:
    """Raise InvalidRequestError for a body that would take too long to parse."""
    if sum(body.count(mark) for mark in (b"[", b"{", b":")) > MAX_MARKS:
        raise InvalidRequestError(
            f"the body holds more than {MAX_MARKS} of the marks '[', '{{', ':'"
        )
    if body.count(b",") > MAX_COMMAS:
        raise InvalidRequestError(f"the body holds more than {MAX_COMMAS} commas")


def _to_int(digits: str) -> int:
    return int(digits)


def _to_float(digits: str) -> float:
    return float(digits)


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidRequestError(f"the body is not JSON: {constant} is no JSON number")


def _too_deep() -> InvalidRequestError:
    return InvalidRequestError(f"the body is nested deeper than {MAX_DEPTH} levels")


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]


def _check_text(value: object) -> None:
    """Refuse unpaired surrogates: they are not characters and cannot be encoded as UTF-8."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f"\\u{ord(value[error.start]):04x} without its other half"
            raise InvalidRequestError(f"the body holds {problem}") from error
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key)
            _check_text(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_text(inner)
