"""The text of /metrics is made in a thread, shared, and never waited for for long."""

import asyncio
import threading
from itertools import count

import pytest

from server.api.monitoring import prepared_text
from server.api.monitoring.prepared_text import PreparedText


async def test_who_asks_at_the_same_time_shares_a_text() -> None:
    numbers = count()
    text = PreparedText(lambda: b"%d" % next(numbers), "test")
    assert set(await asyncio.gather(*(text.get() for _ in range(20)))) == {b"0"}
    assert await text.get() == b"0"


async def test_a_text_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # However long this test takes, the first text is neither fresh nor stale.
    monkeypatch.setattr(prepared_text, "FRESH_S", 0.0)
    monkeypatch.setattr(prepared_text, "STALE_S", 1000.0)
    release = threading.Event()
    numbers = count()

    def make() -> bytes:
        number = next(numbers)
        if number:
            release.wait(60)
        return b"%d" % number

    text = PreparedText(make, "test")
    assert await text.get() == b"0"
    assert await text.get() == b"0"
    release.set()
    async with asyncio.timeout(60):
        while await text.get() == b"0":  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


async def test_what_has_ended_is_in_the_next_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a text is made that was begun before, and however new the last one is."""
    monkeypatch.setattr(prepared_text, "NEWS_PATIENCE_S", 10.0)
    ended, begun, release = [0], threading.Event(), threading.Event()
    # So that the first one is waited for.
    release.set()

    def make() -> bytes:
        counted = ended[0]
        begun.set()
        release.wait(60)
        return b"%d" % counted

    text = PreparedText(make, "test", lambda: ended[0])
    assert await text.get() == b"0"
    begun.clear()
    release.clear()
    ended[0] = 1
    early = asyncio.create_task(text.get())
    assert await asyncio.to_thread(begun.wait, 60)
    ended[0] = 2
    late = asyncio.create_task(text.get())
    await asyncio.sleep(0)
    release.set()
    await early
    assert await late == b"2"


async def test_an_error_is_told_and_the_next_one_tries_again() -> None:
    errors = [ValueError("broken")]

    def make() -> bytes:
        if errors:
            raise errors.pop()
        return b"text"

    text = PreparedText(make, "test")
    with pytest.raises(ValueError, match="broken"):
        await text.get()
    assert await text.get() == b"text"
