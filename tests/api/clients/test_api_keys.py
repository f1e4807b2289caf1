"""Finding keys and counting what their clients do."""

import contextlib
import itertools

import pytest

from server.api.clients import api_keys
from server.api.clients.api_keys import ApiKey, KeyRing, concurrency_limits, digest_of, find_token
from server.errors import ClientLimitError


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(left)
        return left == right

    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare)
    keys = [ApiKey(digest_of(name), name) for name in "abc"]
    ring = KeyRing(keys)
    assert [ring.find(token) for token in ("a", "c", "d", "")] == [keys[0], keys[2], None, None]
    assert len(compared) == 4 * len(keys)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"authorization": "Bearer  a b "}, "a b"),
        ({"authorization": "Basic a"}, ""),
        ({"authorization": "Basic a", "x-api-key": "b"}, "b"),
        ({"x-api-key": " b "}, "b"),
        ({}, ""),
    ],
)
def test_find_token(headers: dict[str, str], token: str) -> None:
    assert find_token(headers) == token


def test_requests_at_once() -> None:
    first = ApiKey(b"", "first", max_concurrent_requests=2)
    assert concurrency_limits([first, ApiKey(b"", "second"), ApiKey.of("x")]) == {"first": 2}


def test_requests_per_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: now)
    key = ApiKey(b"", "k", requests_per_minute=6)
    ring = KeyRing([key])

    def num_accepted() -> int:
        with contextlib.suppress(ClientLimitError):
            for count in itertools.count():
                accepted = count
                ring.count_request(key)
        return accepted

    assert num_accepted() == 6
    now += 20
    assert num_accepted() == 2
    now += 3600
    assert num_accepted() == 6
    now += 9
    with pytest.raises(ClientLimitError) as error:
        ring.count_request(key)
    assert error.value.retry_after_s == 1


def test_one_key_has_no_salt() -> None:
    alice, bob = ApiKey(b"a", "alice", cache_salt="alice"), ApiKey(b"b", "bob", cache_salt="team")
    ring = KeyRing([alice])
    assert ring.cache_salt_of(alice) == ""
    ring.replace([alice, bob])
    assert (ring.cache_salt_of(alice), ring.cache_salt_of(bob)) == ("alice", "team")
