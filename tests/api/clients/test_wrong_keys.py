"""Wrong keys of an address are counted for a minute; the memory for them is bounded."""

import logging

import pytest

from server.api.clients import wrong_keys
from server.api.clients.wrong_keys import WrongKeys
from server.errors import ClientLimitError


class Clock:
    """The time of the test."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(wrong_keys, "time", clock)
    return clock


def is_refused(keys: WrongKeys, client: str) -> bool:
    try:
        keys.note(client)
    except ClientLimitError:
        return True
    return False


def test_the_limit_of_an_address(clock: Clock) -> None:
    keys = WrongKeys(3)
    assert [is_refused(keys, "10.0.0.1") for _ in range(5)] == [False, False, False, True, True]
    assert not is_refused(keys, "10.0.0.2")
    clock.now_s += 59
    assert is_refused(keys, "10.0.0.1")
    clock.now_s += 1
    assert not is_refused(keys, "10.0.0.1")


def test_the_error(clock: Clock) -> None:
    keys = WrongKeys(1)
    keys.note("10.0.0.1")
    clock.now_s += 17.5
    problem = "more than 1 wrong ones.*--max_wrong_keys_per_minute 1; the right key works"
    with pytest.raises(ClientLimitError, match=problem) as error:
        keys.note("10.0.0.1")
    assert error.value.retry_after_s == 43
    assert error.value.reason == "max_wrong_keys_per_minute"


def test_no_limit(clock: Clock) -> None:
    keys = WrongKeys(0)
    assert not any(is_refused(keys, "10.0.0.1") for _ in range(1000))


def test_the_oldest_addresses_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_keys, "MAX_CLIENTS", 3)
    keys = WrongKeys(1)
    for number in range(100):
        clock.now_s += 0.01
        keys.note(f"10.0.0.{number}")
        assert len(keys._windows) <= 3
    assert is_refused(keys, "10.0.0.99")
    assert not is_refused(keys, "10.0.0.1")


def test_one_line_a_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    keys = WrongKeys(2)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            is_refused(keys, "10.0.0.1")
        clock.now_s += 60
        keys.note("10.0.0.2")
    assert [record.getMessage() for record in caplog.records] == [
        "Refused 1 request(s) with a wrong API key, the last from 10.0.0.1",
        "Refused 5 request(s) with a wrong API key, the last from 10.0.0.2",
    ]
