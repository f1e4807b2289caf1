"""GET /v1/status, on a real socket."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from support.fakes import echo_graph, write_repository
from support.serving import Server, running_server

from server.api.endpoints import monitoring
from server.api.monitoring.history import FIELDS
from server.api.monitoring.monitor import Monitor
from server.models.config import load_config
from server.models.model_manager import ModelManager


async def status_of(server: Server, query: str = "") -> dict[str, Any]:
    async with server.http.get(f"/v1/status{query}") as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def test_the_process_and_every_model(server: Server) -> None:
    status = await status_of(server)
    assert status["server"]["version"]
    assert not status["server"]["draining"]
    assert status["cpu"]["cores"] >= 1
    assert status["memory"]["used_bytes"] > 10**6
    models = {model["name"]: model for model in status["models"]}
    assert set(models) == {"echo", "org/describe", "parsed", "raw", "raw/deep", "broken"}
    assert models["echo"]["state"] == "AVAILABLE"
    assert models["echo"]["task"] == "text_generation"
    assert models["raw"]["task"] == "raw"
    assert "no weights" in models["broken"]["reason"]
    assert models["broken"]["graph"]["nodes"]


async def test_the_graph_as_it_is_configured_with_its_numbers(server: Server) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "a b c"}]}
    await server.post("/v3/chat/completions", body)
    (model,) = [m for m in (await status_of(server))["models"] if m["name"] == "echo"]
    graph = model["graph"]
    assert model["requests"] == {"total": 1, "running": 0}
    assert graph["streams"][0]["type"] == "GenerationRequest"
    for node in graph["nodes"]:
        assert node["calculator"]
        assert (node["calls"], node["running"], node["errors"]) == (1, 0, 0)
        assert node["seconds"] > 0
    assert sum(stream["packets"] for stream in graph["streams"]) > 0


async def test_points_of_the_history(tmp_path: Path) -> None:
    manager = ModelManager(load_config(write_repository(tmp_path, {"echo": echo_graph()})))
    await manager.load_all()
    monitor = Monitor(manager)
    before = time.time()
    for _ in range(3):
        monitor.sample()
    text = monitor.status(0).decode()
    assert f'"fields":["{FIELDS[0]}",' in text
    assert text.count(f"[{before:.1f}"[:11]) >= 2
    assert '"points":[]' in monitor.status(time.time() + 1).decode()
    await manager.close(0)


async def test_a_time_that_is_none(server: Server) -> None:
    async with server.http.get("/v1/status?since=yesterday") as response:
        assert response.status == 400
        assert "since is 'yesterday'" in await response.text()


HANGING = """
import time
from pathlib import Path
from support.fakes import EchoCalculator

class Hanging(EchoCalculator):
    def status(self):
        while Path("{folder}/hangs").exists():
            time.sleep(0.01)
        return {{}}
"""


async def test_no_work_is_heaped_up_while_the_status_of_a_node_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "TIMEOUT_S", 0.2)
    monitors = []
    start = Monitor.start

    def note(monitor: Monitor) -> None:
        monitors.append(monitor)
        start(monitor)

    monkeypatch.setattr(Monitor, "start", note)
    graph = echo_graph().replace("./fakes.py:EchoCalculator", "./own.py:Hanging")
    config = write_repository(tmp_path, {"own": graph})
    (tmp_path / "own" / "own.py").write_text(HANGING.format(folder=tmp_path))
    (tmp_path / "hangs").touch()
    manager = ModelManager(load_config(config))
    await manager.load_all()

    async def ask() -> int:
        async with server.http.get("/v1/status") as response:
            return response.status

    async with running_server(manager) as server:
        try:
            for _ in range(2):
                assert await asyncio.gather(*(ask() for _ in range(5))) == [503] * 5
            assert monitors[0]._executor._work_queue.qsize() == 0
        finally:
            (tmp_path / "hangs").unlink()
        await status_of(server)
