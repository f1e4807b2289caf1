"""Work that hangs in a thread, or ends it: nobody waits for ever."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from calculators.inference.watched_threads import WatchedThreads
from server.errors import ModelNotReadyError
from server.host.watch import ABANDONED, WATCHDOG


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hanging work waits for."""
    event = threading.Event()
    yield event
    event.set()


async def test_all_callers_are_told_when_work_hangs(release: threading.Event) -> None:
    threads, num_hung = WatchedThreads(1, "test"), len(ABANDONED)
    assert await threads.submit(lambda: 7) == 7
    calls = [threads.submit(release.wait) for _ in range(3)]
    while not threads._watch.steps():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    WATCHDOG.look(1)
    WATCHDOG.look(31)
    for call in calls:
        with pytest.raises(ModelNotReadyError, match="a step hangs"):
            await asyncio.wait_for(call, 10)
    with pytest.raises(ModelNotReadyError, match="a step hangs"):
        threads.submit(lambda: 7)
    assert not await asyncio.to_thread(threads.close), "closing does not wait for it"
    assert len(ABANDONED) == num_hung + 1
    release.set()
    async with asyncio.timeout(60):
        while len(ABANDONED) > num_hung:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_work_of_another_size_may_take_longer(release: threading.Event) -> None:
    threads = WatchedThreads(1, "test")
    threads._watch._learn(1.0)
    call = threads.submit(release.wait, 100)
    while not threads._watch.steps():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    WATCHDOG.look(1)
    WATCHDOG.look(1900)
    release.set()
    assert await asyncio.wait_for(call, 10)
    assert await asyncio.to_thread(threads.close)


async def test_an_exit_fails_its_caller_alone() -> None:
    threads = WatchedThreads(1, "test")
    with pytest.raises(RuntimeError, match="SystemExit"):
        await threads.submit(sys.exit)
    assert await threads.submit(lambda: 7) == 7
    await asyncio.to_thread(threads.close)


async def test_cancelled_work_does_not_start(release: threading.Event) -> None:
    threads = WatchedThreads(1, "test")
    first = threads.submit(release.wait)
    ran: list[int] = []
    second = threads.submit(lambda: ran.append(1))
    second.cancel()
    # It takes several turns of the loop until the thread pool knows.
    await asyncio.sleep(0.01)
    release.set()
    await first
    await asyncio.to_thread(threads.close)
    assert ran == []
