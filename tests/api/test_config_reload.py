"""POST /v1/config/reload: its statuses and its answers."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fakes import RAW_GRAPH, echo_graph, write_graph, write_repository
from support.serving import Server, running_server

from server.models.config import load_config
from server.models.loading import retirements
from server.models.model_manager import ModelManager

PATH = "/v1/config/reload"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.0)
    manager = ModelManager(load_config(write_repository(tmp_path, {"echo": echo_graph()})))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


async def test_200_where_nothing_is_to_do(server: Server) -> None:
    status, body = await server.post(PATH, {})
    assert (status, list(body)) == (200, ["echo"])
    async with server.http.get("/v1/config") as response:
        assert await response.json() == body


async def test_201_where_something_was_loaded(server: Server, tmp_path: Path) -> None:
    write_repository(tmp_path, {"echo": echo_graph(), "raw": RAW_GRAPH})
    status, body = await server.post(PATH, {})
    assert (status, list(body)) == (201, ["echo", "raw"])
    assert body["raw"]["model_version_status"][0]["state"] == "AVAILABLE"


@pytest.mark.parametrize(
    ("config", "status", "message"),
    [
        ("{", 412, "config.json: not JSON at line 1"),
        ({"model_config_lists": []}, 412, "did you mean 'model_config_list'"),
        (None, 500, "config.json: cannot be read: No such file or directory"),
        ({"model_config_list": [{"config": {"name": "lost"}}]}, 400, "lost: no such folder"),
        ({"model_config_list": [{"config": {"name": "nonsense"}}]}, 412, "nonsense: "),
        ({"model_config_list": [{"config": {"name": "bad"}}]}, 500, "no weights"),
    ],
)
async def test_reloads_that_fail(
    config: object, status: int, message: str, server: Server, tmp_path: Path
) -> None:
    write_graph(tmp_path / "nonsense", "node {")
    write_graph(tmp_path / "bad", echo_graph(fail="no weights"))
    file = tmp_path / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    if config is None:
        file.unlink()
    found, body = await server.post(PATH, {})
    assert found == status
    assert body["error"]["message"].startswith("reloading failed: ")
    assert message in body["error"]["message"]
    assert body["error"]["code"] == "reload_failed"


async def test_get_does_not_reload(server: Server) -> None:
    async with server.http.get(PATH) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
