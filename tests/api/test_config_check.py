"""POST /v1/config/check: what `server --check` would say, without a change."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.serving import Server, running_server

from server.models import model_manager
from server.models.config import load_config
from server.models.model_manager import ModelManager

PATH = "/v1/config/check"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    manager = ModelManager(load_config(write_repository(tmp_path, {"echo": echo_graph()})))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


async def test_nothing_is_wrong(server: Server) -> None:
    assert await server.post(PATH, {}) == (200, {"models": {"echo": None}})


async def test_it_reads_the_files_of_now_and_changes_nothing(
    server: Server, tmp_path: Path
) -> None:
    write_repository(tmp_path, {"echo": echo_graph(), "bad": 'input_stream: "a"'})
    status, answer = await server.post(PATH, {})
    assert (status, answer["models"]["echo"]) == (200, None)
    assert "graph.pbtxt" in answer["models"]["bad"]
    assert list(server.manager.status()) == ["echo"]


async def test_a_broken_config_is_an_error(server: Server, tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "config.json").write_text, "{")
    status, answer = await server.post(PATH, {})
    assert status == 412
    assert "config.json" in answer["error"]["message"]


async def test_callers_at_the_same_time_share_one_check(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, num_checks, num_callers = threading.Event(), 0, 0
    find_problems = server.manager.find_problems

    async def counted() -> Mapping[str, str | None]:
        nonlocal num_callers
        num_callers += 1
        return await find_problems()

    def find_problem(_: object) -> None:
        nonlocal num_checks
        num_checks += 1
        go_on.wait(60)

    monkeypatch.setattr(server.manager, "find_problems", counted)
    monkeypatch.setattr(model_manager, "find_problem", find_problem)
    calls = [asyncio.create_task(server.post(PATH, {})) for _ in range(5)]
    async with asyncio.timeout(60):
        while num_callers < 5:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    go_on.set()
    answers = await asyncio.gather(*calls)
    assert (num_checks, answers) == (1, [(200, {"models": {"echo": None}})] * 5)
