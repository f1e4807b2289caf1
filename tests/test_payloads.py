from typing import Any

import pytest

from server.payloads import HttpResponsePayload


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"body": "text"}, "body is a str; it must be bytes"),
        ({"body": b"", "status": 99999}, "status is 99999"),
        ({"body": b"", "status": 100}, "status is 100"),
        ({"body": b"", "status": "200"}, "status is '200'"),
        ({"body": b"", "content_type": "a\r\nSet-Cookie: b"}, "content_type is 'a"),
        ({"body": b"", "content_type": None}, "content_type is None"),
    ],
)
def test_a_response_that_http_cannot_carry_is_refused(fields: Any, problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        HttpResponsePayload(**fields)
