"""Models load, fail alone, and close in bounded time."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from support.fakes import RAW_GRAPH, echo_graph, write_graph, write_repository

from server.errors import ModelNotFoundError, ModelNotReadyError
from server.models.config import load_config
from server.models.model_manager import ModelManager, ModelState
from server.payloads import GenerationRequest

WAIT = GenerationRequest("id", prompt="!wait")


def manager_of(config: Path) -> ModelManager:
    return ModelManager(load_config(config))


async def test_a_model_that_fails_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = {
        "good": echo_graph(),
        "bad_open": echo_graph(fail="no weights"),
        "bad_text": "node {",
        "bad_graph": RAW_GRAPH.replace("RawCalculator", "NoSuchCalculator"),
        "also_good": RAW_GRAPH,
    }
    config = write_repository(tmp_path, graphs)
    entries = json.loads(config.read_text())
    entries["model_config_list"].append({"config": {"name": "no_graph"}})
    entries["mediapipe_config_list"] = [{"name": "lost_graph"}]
    config.write_text(json.dumps(entries))
    manager = manager_of(config)
    caplog.set_level(logging.INFO)
    assert not manager.is_ready
    await manager.load_all()
    assert not manager.is_ready
    broken = ["bad_open", "bad_text", "bad_graph", "no_graph", "lost_graph"]
    assert sorted(manager.unready_models()) == sorted(broken)
    assert [model.name for model in manager.available_models()] == ["good", "also_good"]

    status = manager.status()
    assert list(status) == sorted(status)
    reasons = {
        "bad_open": "no weights",
        "bad_text": "graph.pbtxt",
        "bad_graph": "NoSuchCalculator",
        "no_graph": "no_graph: no such folder",
        "lost_graph": "there is neither",
    }
    for name, reason in reasons.items():
        (version,) = status[name]["model_version_status"]
        assert (version["version"], version["state"]) == ("1", "LOADING")
        assert version["status"] == {
            "error_code": "FAILED_PRECONDITION",
            "error_message": "FAILED_PRECONDITION",
        }
        assert reason in version["reason"]
        assert f"Model {name} failed to load" in caplog.text
        with pytest.raises(ModelNotReadyError) as error:
            manager.get(name)
        assert reason in str(error.value)
    assert "no such folder" not in status["lost_graph"]["model_version_status"][0]["reason"]
    await manager.close(0)


async def test_progress_line_for_each_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manager = manager_of(write_repository(tmp_path, {"a": echo_graph(), "b": RAW_GRAPH}))
    await manager.load_all()
    lines = [r.getMessage() for r in caplog.records if r.name == "server.models.loading.loader"]
    assert lines[:2] == [
        f"Loading model a (1 of 2) from {tmp_path / 'a'}",
        f"Loading model b (2 of 2) from {tmp_path / 'b'}",
    ]
    assert {line.split(" after ")[0] for line in lines[2:]} == {
        "Model a is available",
        "Model b is available",
    }
    await manager.close(0)


async def test_states(tmp_path: Path) -> None:
    manager = manager_of(write_repository(tmp_path, {"m": echo_graph(open_s=0.2)}))

    def state() -> str:
        (version,) = manager.status()["m"]["model_version_status"]
        assert version["status"] == {"error_code": "OK", "error_message": "OK"}
        return str(version["state"])

    states = [state()]
    loading = asyncio.create_task(manager.load_all())
    await asyncio.sleep(0.05)
    states.append(state())
    with pytest.raises(ModelNotReadyError, match="not loaded yet"):
        manager.get("m")
    await loading
    states.append(state())
    model = manager.get("m")
    assert (model.name, model.state) == ("m", ModelState.AVAILABLE)
    async with model.graph.start_run(WAIT):
        closing = asyncio.create_task(manager.close(30))
        await asyncio.sleep(0.01)
        states.append(state())
    await closing
    states.append(state())
    assert states == ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


async def test_event_loop_goes_on_while_a_model_loads(tmp_path: Path) -> None:
    manager = manager_of(write_repository(tmp_path, {"m": echo_graph(open_s=0.3)}))
    loading = asyncio.create_task(manager.load_all())
    num_turns = 0
    while not loading.done():
        await asyncio.sleep(0.001)
        num_turns += 1
    assert num_turns > 10
    await manager.close(0)


async def test_folder_of_version_1(tmp_path: Path) -> None:
    write_graph(tmp_path / "m/1", echo_graph())
    (tmp_path / "config.json").write_text('{"model_config_list": [{"config": {"name": "m"}}]}')
    manager = manager_of(tmp_path)
    await manager.load_all()
    assert manager.get("m").name == "m"
    await manager.close(0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("modle", "there is no model 'modle'; did you mean 'model'?"),
        ("zzz", "there is no model 'zzz'; models: model"),
    ],
)
def test_unknown_name(tmp_path: Path, name: str, message: str) -> None:
    manager = manager_of(write_repository(tmp_path, {"model": echo_graph()}))
    with pytest.raises(ModelNotFoundError) as error:
        manager.get(name)
    assert str(error.value) == message


async def test_requests_that_do_not_end_are_stopped_at_close(tmp_path: Path) -> None:
    manager = manager_of(write_repository(tmp_path, {"m": echo_graph()}))
    await manager.load_all()
    async with manager.get("m").graph.start_run(WAIT) as run:
        closing = asyncio.create_task(manager.close(0.1))
        with pytest.raises(ModelNotReadyError, match="shutting down"):
            await anext(run)
    await closing
    assert not manager.is_ready


async def test_no_new_requests_while_closing(tmp_path: Path) -> None:
    manager = manager_of(write_repository(tmp_path, {"m": echo_graph()}))
    await manager.load_all()
    async with manager.get("m").graph.start_run(WAIT):
        closing = asyncio.create_task(manager.close(30))
        await asyncio.sleep(0)
        with pytest.raises(ModelNotReadyError, match="the server is shutting down"):
            manager.get("m")
    await closing
