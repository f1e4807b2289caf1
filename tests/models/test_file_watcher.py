"""When the watcher reloads; what a reload does is tested elsewhere."""

import asyncio
from pathlib import Path

import pytest
from support.fakes import describe_graph, echo_graph, write_repository

from server.models.config import load_config
from server.models.file_watcher import FileWatcher
from server.models.model_manager import ModelManager


async def manager_of(config: Path) -> ModelManager:
    manager = ModelManager(load_config(config))
    await manager.load_all()
    return manager


async def test_a_change_is_loaded_when_two_looks_find_it(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    manager = await manager_of(config)
    watcher = FileWatcher(manager, 1.0)
    graph = manager.get("m").graph
    await watcher.look()
    for options in ("{", "{ #", "{ ##"):
        (tmp_path / "m/graph.pbtxt").write_text(options)
        await watcher.look()
        assert manager.get("m").load_error is None, "it is still being written"
    write_repository(tmp_path, {"m": describe_graph()})
    await watcher.look()
    assert manager.get("m").graph is graph
    await watcher.look()
    assert manager.get("m").graph is not graph
    await manager.close(0)


async def test_watching_goes_on_after_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await manager_of(write_repository(tmp_path, {"m": echo_graph()}))
    looks: list[int] = []

    def fail() -> None:
        looks.append(1)
        raise MemoryError("no memory")

    monkeypatch.setattr(manager, "find_changes", fail)
    watching = asyncio.create_task(FileWatcher(manager, 0.001).run())
    async with asyncio.timeout(60):
        while len(looks) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    watching.cancel()
    assert caplog.text.count("Looking for changes failed; watching goes on") == 1
    await manager.close(0)


async def test_one_attempt_for_each_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    manager = await manager_of(config)
    watcher = FileWatcher(manager, 1.0)
    good = config.read_text()

    async def attempts(text: str) -> int:
        caplog.clear()
        config.write_text(text)
        for _ in range(5):
            await watcher.look()
        return caplog.text.count("Nothing is reloaded")

    assert await attempts("{") == 1
    assert await attempts("{") == 0
    assert await attempts("}") == 1
    assert await attempts(good) == 0
    assert await attempts("}") == 1
    await manager.close(0)


async def test_it_looks_regularly_but_not_while_models_load(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    manager = await manager_of(config)
    watching = asyncio.create_task(FileWatcher(manager, 0.01).run())
    write_repository(tmp_path, {"m": echo_graph(), "n": echo_graph(open_s=0.3)})
    async with asyncio.timeout(60):
        while len(manager.available_models()) < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    assert manager.served_names() == ("m", "n")
    assert not watching.done()
    watching.cancel()
    await manager.close(0)
