"""GET /v1/status, on a real socket."""

import time
from pathlib import Path
from typing import Any

from support.fakes import echo_graph, write_repository
from support.serving import Server

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
