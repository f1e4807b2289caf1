"""What the front knows of a replica."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from api.replicas.conftest import PROBE, FakeReplica

from server.api.replicas import backend as module
from server.api.replicas.backend import Backend
from server.api.replicas.replica_state import STATE_HEADER

FAILED = json.dumps({"error": "1 of 1 models cannot serve", "models": {"m": "no file"}}).encode()
LOADING = json.dumps({"error": "the models are being loaded", "models": {}}).encode()


@asynccontextmanager
async def watching(backend: Backend) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(backend.watch({}))
    yield task
    assert not task.done(), "the watch has ended"
    task.cancel()
    await asyncio.wait([task])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "START_INTERVAL_S", 0.02)


async def test_a_failed_model_does_not_keep_the_first_load_from_its_end(
    replicas: list[FakeReplica],
) -> None:
    replica, backend = replicas[0], replicas[0].backend
    replica.probe = 503, LOADING, {STATE_HEADER: "loading"}
    async with watching(backend):
        await until(lambda: backend.answers)
        assert not backend.has_loaded
        replica.probe = 503, FAILED, {STATE_HEADER: "serving"}
        await until(lambda: backend.has_loaded)
        assert backend.unready == {"m": "no file"}
        assert not backend.is_ready


@pytest.mark.parametrize(
    "probe",
    [
        (500, b"", {STATE_HEADER: "serving"}),
        (403, b"{}", {}),
        (503, b'{"message": "Service Unavailable"}', {STATE_HEADER: "serving"}),
        (503, b"[1]", {STATE_HEADER: "serving"}),
        (503, b'{"error": "", "models": 7}', {STATE_HEADER: "serving"}),
        (200, b"", {}),
    ],
)
async def test_a_strange_answer_does_not_count_as_ready_nor_end_the_watch(
    replicas: list[FakeReplica], probe: tuple[int, bytes, dict[str, str]]
) -> None:
    replica, backend = replicas[0], replicas[0].backend
    async with watching(backend):
        await until(lambda: backend.is_ready)
        replica.probe = probe
        await until(lambda: not backend.answers)
        assert f"status {probe[0]}" in backend.problem
        replica.probe = 200, b"", {STATE_HEADER: "serving"}
        await until(lambda: backend.is_ready)


async def test_a_replica_that_stops_gets_nothing_more(replicas: list[FakeReplica]) -> None:
    replica, backend = replicas[0], replicas[0].backend
    async with watching(backend):
        await until(lambda: backend.is_ready)
        replica.probe = 503, LOADING, {STATE_HEADER: "stopping"}
        await until(lambda: not backend.answers)


async def test_one_late_answer_does_not_make_a_replica_look_dead(
    replicas: list[FakeReplica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_TIMEOUT_S", 0.2)
    replica, backend = replicas[0], replicas[0].backend

    async def wait_once() -> None:
        replica.wait = None
        await asyncio.sleep(60)

    async with watching(backend):
        await until(lambda: backend.is_ready)
        answered_s, num_probes = backend.answered_s, replica.num_requests[PROBE]
        replica.wait = wait_once
        was_ready: list[bool] = []

        def has_answered_again() -> bool:
            was_ready.append(backend.is_ready)
            return replica.num_requests[PROBE] > num_probes + 1

        await until(has_answered_again)
        assert all(was_ready)
        assert backend.answered_s - answered_s > 0.1
        replica.wait = lambda: asyncio.sleep(60)
        await until(lambda: not backend.answers)
        assert "it has not answered for" in backend.problem


async def test_a_refused_connection_is_named_so(
    replicas: list[FakeReplica], tmp_path: Path
) -> None:
    backend = Backend(0, tmp_path / "none.http")
    backend.unready, backend.problem, backend.has_loaded = {}, "", True
    async with watching(backend):
        await until(lambda: not backend.answers)
    await backend.close()
    assert backend.problem == "it cannot be reached: No such file or directory"
