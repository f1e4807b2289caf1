"""Tasks without which a process cannot serve."""

import asyncio

import pytest

from server.host.watch import WATCHDOG, start_vital_task


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(WATCHDOG, "fail", found.append)
    return found


async def test_a_task_that_fails_ends_the_process(failures: list[str]) -> None:
    async def fail() -> None:
        raise KeyError("error")

    await asyncio.wait([start_vital_task(fail(), "watching replica 0")])
    assert failures == ["watching replica 0 has ended unexpectedly: 'error'"]


async def test_a_task_that_is_cancelled_does_not(failures: list[str]) -> None:
    task = start_vital_task(asyncio.sleep(60), "sleeping")
    task.cancel()
    await asyncio.wait([task])
    assert failures == []
