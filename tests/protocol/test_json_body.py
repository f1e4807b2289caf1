"""Bodies that are not a usable JSON object."""

import pytest

from server.errors import InvalidRequestError
from server.protocol.json_body import parse_json_object

DEEP_100 = b'{"a":' + b"[" * 99 + b"]" * 99 + b"}"
DEEP_101 = b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no body"),
        (b" \n", "no body"),
        (b"{", "not JSON at line 1, column 2"),
        (b'{"a": 1,\n}', "not JSON at line 2, column 1"),
        (b"[]", "must be a JSON object, found a list"),
        (b"null", "must be a JSON object, found null"),
        (b'"x"', "must be a JSON object, found the string 'x'"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": "\\ud800"}', r"\ud800 without its other half"),
        (b'{"a": ["x", {"b": "\\uDFFF"}]}', r"\udfff without its other half"),
        (b'{"\\udc00": 1}', r"\udc00 without its other half"),
        (DEEP_101, "deeper than 100"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100"),
        (b"[" * 500_000, "deeper than 100"),
        (b'{"a": [' + b"[]," * 600_000 + b"1]}", "more than 600000 lists, objects and members"),
        (b'{"a": [' + b"1," * 4_000_001 + b"1]}", "more than 4000000 commas"),
        (b"{" + b'"a":1,' * 600_000 + b'"b":1}', "more than 600000 lists, objects and members"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_refused(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_json_object(body)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a": "\\\\ud800"}', {"a": "\\ud800"}),
        (b'{"a": "\\u0000"}', {"a": "\0"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "' + b"[" * 200 + b'"}', {"a": "[" * 200}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_accepted(body: bytes, value: object) -> None:
    assert parse_json_object(body) == value


def test_depth_100_is_accepted() -> None:
    assert parse_json_object(DEEP_100)


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    assert parse_json_object(b"\xef\xbb\xbf" + b'{"a": 1}') == {"a": 1}
