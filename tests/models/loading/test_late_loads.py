"""Loads that hang, or only take long: the log and /v1/config tell, and all else goes on."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support import loading_fakes
from support.fakes import echo_graph
from support.resident_models import status_of, until

from server.errors import ModelNotReadyError, ReloadError
from server.graph import Services
from server.host.watch import ABANDONED, activity
from server.models.config import load_config
from server.models.loading import load, retirements
from server.models.loading.load import LOADING_S, LoadLimits
from server.models.model_manager import ModelManager
from server.models.residency.settings import ResidencySettings
from server.payloads import GenerationRequest

CALCULATOR = """
import time
from pathlib import Path
from support.fakes import EchoCalculator

class Own(EchoCalculator):
    def open(self, cc):
        super().open(cc)
        cc.progress("compiling", 0.5)
        while Path("{folder}/open_hangs").exists():
            time.sleep(0.02)

    def close(self):
        Path("{folder}/closed").touch()
        while Path("{folder}/close_hangs").exists():
            time.sleep(0.02)

while Path("{folder}/import_hangs").exists():
    time.sleep(0.02)
"""
GRAPH = echo_graph().replace("./fakes.py", "support.fakes")
OWN_GRAPH = GRAPH.replace("support.fakes:EchoCalculator", "./own.py:Own")


class Models:
    """The models `own`, of which a file says what hangs, and `other`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, graph in (("own", OWN_GRAPH), ("other", GRAPH)):
            (folder / name).mkdir()
            (folder / name / "graph.pbtxt").write_text(graph)
        self.change()
        entries = [{"config": {"name": name, "base_path": name}} for name in ("own", "other")]
        self.config = folder / "config.json"
        self.config.write_text(json.dumps({"model_config_list": entries}))
        self.managers: list[ModelManager] = []

    def change(self, comment: str = "") -> None:
        text = CALCULATOR.format(folder=self.folder)
        (self.folder / "own" / "own.py").write_text(f"{text}\n# {comment}")

    def hang(self, what: str) -> None:
        (self.folder / f"{what}_hangs").touch()

    def go_on(self) -> None:
        for path in self.folder.glob("*_hangs"):
            path.unlink()

    def manager(self, timeout_s: float = 0.0, **settings: Any) -> ModelManager:
        services = Services(extras=(LoadLimits(timeout_s),))
        residency = ResidencySettings(**settings) if settings else None
        self.managers.append(ModelManager(load_config(self.config), 0.0, services, residency))
        return self.managers[-1]


@pytest.fixture
async def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Models]:
    monkeypatch.setattr(load, "LOOK_S", 0.02)
    monkeypatch.setattr(load, "MAX_IDLE_S", 0.2)
    monkeypatch.setattr(load, "FIRST_NEWS_S", 0.3)
    monkeypatch.setattr(retirements, "CLOSE_S", 0.3)
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.0)
    # Whatever else the tests' process does meanwhile.
    monkeypatch.setattr(activity, "BUSY_SHARE", 10.0)
    found = Models(tmp_path)
    yield found
    found.go_on()
    for manager in found.managers:
        await manager.close(0)
        await manager.wait_for_reloads()
    await until(lambda: not len(ABANDONED))


async def ask(manager: ModelManager, name: str) -> str:
    async with manager.get(name).graph.start_run(GenerationRequest("id", prompt="hi")) as run:
        return "".join([chunk.text async for chunk in run])


@pytest.mark.parametrize(
    ("what", "stage"),
    [("open", "node 'Fake' (Own): compiling"), ("import", "reading its files")],
)
async def test_a_start_goes_on_beside_a_load_that_hangs(
    models: Models, what: str, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    models.hang(what)
    manager = models.manager()
    async with asyncio.timeout(20):
        await manager.load_all()
    assert await ask(manager, "other") == "hi"
    assert not manager.is_ready
    assert re.match("still loading after [0-9] s: ", manager.unready_models()["own"])
    assert stage in manager.unready_models()["own"]
    status = status_of(manager, "own")
    assert (status["state"], status["reason"]) == ("LOADING", manager.unready_models()["own"])
    with pytest.raises(ModelNotReadyError, match="still loading after"):
        manager.get("own")
    await until(lambda: "time.sleep(0.02)" in caplog.text)
    assert LOADING_S.labels("own")._value.get() > 0.2
    models.go_on()
    await until(lambda: manager.is_ready)
    assert await ask(manager, "own") == "hi"
    assert "Model own is available" in caplog.text
    assert LOADING_S.labels("own")._value.get() == 0


async def test_a_model_that_opens_alone_does_not_wait_for_what_hangs(models: Models) -> None:
    models.hang("open")
    graph = models.folder / "other" / "graph.pbtxt"
    graph.write_text(loading_fakes.GRAPH.format(calculator="AloneCalculator"))
    manager = models.manager()
    async with asyncio.timeout(20):
        await manager.load_all()
    await until(lambda: status_of(manager, "other")["state"] == "AVAILABLE")


async def test_a_load_that_computes_keeps_its_turn(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "BUSY_SHARE", -1.0)
    models.hang("open")
    loading = asyncio.create_task(models.manager().load_all())
    await asyncio.wait([loading], timeout=1)
    assert not loading.done()
    monkeypatch.setattr(load, "MAX_AHEAD_S", 1.0)
    async with asyncio.timeout(60):
        await loading


async def test_a_reload_goes_on_beside_a_load_that_hangs(models: Models) -> None:
    manager = models.manager()
    await manager.load_all()
    models.hang("open")
    models.change("first")
    with pytest.raises(ReloadError, match="own: still loading after"):
        await manager.reload(retry_failed=False)
    assert await ask(manager, "own") == "hi"
    status = status_of(manager, "own")
    assert status["state"] == "AVAILABLE"
    assert "the new one is still loading after" in status["reason"]
    # To ask again starts no second load of the same, ...
    assert not await manager.reload(retry_failed=True)
    assert len(ABANDONED) == 0
    # ... but what has changed since is loaded, and nobody waits for the first.
    models.change("second")
    with pytest.raises(ReloadError, match="own: still loading after"):
        await manager.reload(retry_failed=False)
    assert len(ABANDONED) == 1
    first = manager.get("own").graph
    models.go_on()
    await until(lambda: manager.get("own").graph is not first)
    await until(lambda: not len(ABANDONED))
    assert await ask(manager, "own") == "hi"
    assert "reason" not in status_of(manager, "own")
    assert not await manager.reload(retry_failed=True)


async def test_a_load_that_was_given_up_does_not_fail_the_next_one(
    models: Models, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(retirements, "MAX_HUNG", 1)
    monkeypatch.setattr(retirements, "CLOSE_S", 1.5)
    manager = models.manager()
    await manager.load_all()
    models.hang("close")
    models.change("first")
    await manager.reload(retry_failed=False)
    models.hang("import")
    models.change("second")
    with pytest.raises(ReloadError, match="own: still loading after"):
        await manager.reload(retry_failed=False)
    (models.folder / "import_hangs").unlink()
    # The second load waits for the graph that hangs while it is closed, which will fail it.
    await until(lambda: "waiting until its last graph" in caplog.text)
    models.hang("import")
    models.change("third")
    with pytest.raises(ReloadError, match="own: still loading after"):
        await manager.reload(retry_failed=False)
    await asyncio.sleep(retirements.CLOSE_S)
    assert manager.get("own").load_error is None
    first = manager.get("own").graph
    models.go_on()
    await until(lambda: manager.get("own").graph is not first)
    assert "reason" not in status_of(manager, "own")


async def test_a_time_limit_gives_a_load_up(models: Models) -> None:
    models.hang("open")
    manager = models.manager(timeout_s=0.4)
    await manager.load_all()
    await until(lambda: manager.unready_models()["own"].startswith("it was not loaded"))
    error = "it was not loaded within 0.4 s, which --load_timeout_seconds allows: node 'Fake'"
    assert manager.unready_models()["own"].startswith(error)
    assert len(ABANDONED) == 1
    assert await ask(manager, "other") == "hi"
    models.go_on()
    await until((models.folder / "closed").exists)
    assert manager.unready_models(), "its result is not wanted any more"
    await manager.reload(retry_failed=True)
    assert await ask(manager, "own") == "hi"


async def test_a_removed_model_whose_load_hangs(models: Models) -> None:
    models.hang("open")
    manager = models.manager()
    await manager.load_all()
    entries = [{"config": {"name": "other", "base_path": "other"}}]
    models.config.write_text(json.dumps({"model_config_list": entries}))
    await manager.reload(retry_failed=False)
    assert manager.is_ready
    models.go_on()
    await until((models.folder / "closed").exists)
    assert status_of(manager, "own")["state"] == "END"


async def test_a_node_that_hangs_in_close(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    manager = models.manager()
    await manager.load_all()
    models.hang("close")
    models.change("again")
    await manager.reload(retry_failed=False)
    assert await ask(manager, "own") == "hi"
    await until(lambda: len(ABANDONED) == 1)
    assert "close own: a node hangs" in caplog.text
    assert "in close" in caplog.text, "its stack"


async def test_a_load_on_demand_that_hangs(models: Models) -> None:
    manager = models.manager(idle_unload_timeout_s=0.2, wait_timeout_s=30.0)
    await manager.load_all()
    await until(lambda: not any(status_of(manager, name)["loaded"] for name in ("own", "other")))
    models.hang("open")
    with pytest.raises(ModelNotReadyError, match="model 'own' is still loading after"):
        await ask(manager, "own")
    assert await ask(manager, "other") == "hi"
    assert status_of(manager, "own")["state"] == "LOADING"
    with pytest.raises(ModelNotReadyError, match="still loading after"):
        await ask(manager, "own")
    models.go_on()
    await until(lambda: status_of(manager, "own")["loaded"])
    assert await ask(manager, "own") == "hi"
