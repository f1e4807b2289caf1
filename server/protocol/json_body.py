"""Bytes of a request -> a JSON object, within limits that later code relies on."""

import json
from codecs import BOM_UTF8
from typing import Any, NoReturn

from server.errors import InvalidRequestError, describe_value
from server.protocol.json_pieces import JsonLimits, PieceError, parse_in_pieces

__all__ = ["SMALL_BODY_BYTES", "NotJsonError", "check_num_values", "parse_json_object"]

# Parsing so much takes about a millisecond; larger bodies are parsed in a thread, in pieces.
SMALL_BODY_BYTES = 2**16
MAX_DEPTH = 100
# So many lists, objects and members take a second to parse, and a hundred megabytes.
MAX_MARKS = 600_000
# Numbers and texts take less, and a request may hold many prompts of token ids.
MAX_COMMAS = 4_000_000
LIMITS = JsonLimits(MAX_DEPTH, MAX_MARKS, MAX_COMMAS)
# The checks of an endpoint's fields let no other request be served: 40 ms for so many.
MAX_VALUES = 50_000
MAX_NUMBERS = 1_250_000
SLICE = 4096


class NotJsonError(InvalidRequestError):
    """The body is not JSON. Other bodies are, but beyond a bound or not an object."""


def parse_json_object(body: bytes, *, allows_nan: bool = False) -> dict[str, Any]:
    """Parse a request body. Raises InvalidRequestError for anything but a sane JSON object.

    For more than SMALL_BODY_BYTES, call it in a thread: other threads may run meanwhile.
    `allows_nan` also takes NaN, Infinity and -Infinity, which are not JSON.
    """
    text = body.removeprefix(BOM_UTF8)
    if not text or text.isspace():
        raise InvalidRequestError("the request has no body; it must be a JSON object")
    try:
        if len(text) <= SMALL_BODY_BYTES:
            value = _load(text.decode(), allows_nan=allows_nan)
        else:
            value = parse_in_pieces(text, lambda t: _load(t, allows_nan=allows_nan), LIMITS)
    except PieceError as error:
        raise InvalidRequestError(
            f"the body is not JSON at byte {error.position}: {error}"
        ) from error
    except UnicodeDecodeError as error:
        raise NotJsonError(f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotJsonError(f"the body is not JSON at {where}: {error.msg}") from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise InvalidRequestError("the body holds a number with too many digits") from error
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the body must be a JSON object, found {describe_value(value)}")
    if len(text) <= SMALL_BODY_BYTES and text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    return value


def check_num_values(value: Any) -> None:
    """Raise InvalidRequestError for more values than an endpoint can check without a stall."""
    num_values, num_numbers = 0, 0
    found = [value]
    while found:
        outer = found.pop()
        values = list(outer.values()) if isinstance(outer, dict) else outer
        for start in range(0, len(values), SLICE):
            part = values[start : start + SLICE]
            if {int, float}.issuperset(map(type, part)):
                num_numbers += len(part)
            else:
                num_values += len(part)
                found += [inner for inner in part if isinstance(inner, dict | list)]
            if num_values > MAX_VALUES:
                problem = f"{MAX_VALUES} messages, texts and other values besides numbers"
                raise InvalidRequestError(f"the body holds more than {problem}")
            if num_numbers > MAX_NUMBERS:
                raise InvalidRequestError(f"the body holds more than {MAX_NUMBERS} numbers")


def _load(text: str, *, allows_nan: bool) -> Any:
    value = json.loads(text, parse_constant=None if allows_nan else _refuse_constant)
    if "\\ud" in text or "\\uD" in text:
        _check_text(value)
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise NotJsonError(f"the body is not JSON: {constant} is no JSON number")


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
