"""Idle models are unloaded, stay available, and are loaded again by a request."""

import asyncio
import gc
import json
import logging
import weakref
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_graph
from support.resident_models import ask, resident_manager, status_of, until

from server.errors import ModelNotReadyError
from server.models.loading import retirements
from server.models.residency import residency
from server.payloads import GenerationRequest

IDLE_S = 0.4


async def test_an_idle_model_is_unloaded_and_a_request_loads_it_again(tmp_path: Path) -> None:
    graphs = {"m": echo_graph()}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        assert status_of(manager, "m")["loaded"]
        # Neither the status nor a look at the model is a request.
        await until(lambda: manager.get("m") and not status_of(manager, "m")["loaded"])
        status = status_of(manager, "m")
        assert (status["state"], status["status"]["error_code"]) == ("AVAILABLE", "OK")
        assert status["unloaded"]["reason"] == "no request for 0.4 s"
        assert status["memory_bytes"] >= 0
        assert "nodes" not in status
        assert [model.name for model in manager.available_models()] == ["m"]
        assert await ask(manager, "m") == "hello"
        assert status_of(manager, "m")["loaded"]
        assert "unloaded" not in status_of(manager, "m")


async def test_nothing_holds_an_unloaded_model(tmp_path: Path) -> None:
    graphs = {"m": echo_graph()}
    gc.disable()
    try:
        async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
            await ask(manager, "m")
            (node,) = manager._models["m", 1].loaded_graph._nodes
            calculator = weakref.ref(node.calculator)
            del node
            await until(lambda: calculator() is None)
    finally:
        gc.enable()


async def test_a_run_that_has_ended_does_not_hold_its_nodes(tmp_path: Path) -> None:
    async with resident_manager(tmp_path, {"m": echo_graph()}) as manager:
        gc.disable()
        try:
            graph = manager._models["m", 1].loaded_graph
            async with graph.start_run(GenerationRequest("id", prompt="hello")) as run:
                first = weakref.ref(run._nodes[0])
                assert [chunk.text async for chunk in run] == ["hello"]
            del run
            assert first() is None
        finally:
            gc.enable()


async def test_a_model_with_a_request_is_not_idle(tmp_path: Path) -> None:
    graphs = {"m": echo_graph()}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        request = asyncio.create_task(ask(manager, "m", "!wait"))
        await asyncio.sleep(3 * IDLE_S)
        assert status_of(manager, "m")["loaded"]
        request.cancel()
        await until(lambda: not status_of(manager, "m")["loaded"])


async def test_groups_are_together_and_permanent_ones_stay(tmp_path: Path) -> None:
    graphs = dict.fromkeys(["a", "b", "c", "kept"], echo_graph())
    groups = {"a": "rag", "b": "rag", "kept": "permanent"}
    async with resident_manager(tmp_path, graphs, groups, idle_unload_timeout_s=IDLE_S) as manager:

        def loaded() -> set[str]:
            return {name for name in graphs if status_of(manager, name)["loaded"]}

        await until(lambda: loaded() == {"kept"})
        await ask(manager, "a")
        await until(lambda: "b" in loaded())
        assert loaded() == {"a", "b", "kept"}
        assert status_of(manager, "a")["group_name"] == "rag"
        # A request to one member keeps the others.
        for _ in range(6):
            await ask(manager, "a")
            await asyncio.sleep(IDLE_S / 3)
        assert "b" in loaded()


async def test_a_request_that_comes_while_its_model_is_unloaded(tmp_path: Path) -> None:
    graphs = {"m": echo_graph(open_s=0.05)}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=0.05) as manager:
        for number in range(30):
            assert await ask(manager, "m") == "hello"
            await asyncio.sleep(0.04 + number / 1000)


async def test_a_client_that_leaves_does_not_stop_the_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    graphs = {"m": echo_graph(open_s=0.3)}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        await until(lambda: not status_of(manager, "m")["loaded"])
        request = asyncio.create_task(ask(manager, "m"))
        await until(lambda: "Loading model m (on demand)" in caplog.text)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await until(lambda: status_of(manager, "m")["loaded"])
        # Nobody counts as its user: it becomes idle.
        await until(lambda: not status_of(manager, "m")["loaded"])


async def test_a_load_that_fails_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "RETRY_PAUSE_S", 1.0)
    graphs = {"m": echo_graph()}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        await until(lambda: not status_of(manager, "m")["loaded"])
        write_graph(tmp_path / "m", echo_graph(fail="no weights"))
        asks = [ask(manager, "m") for _ in range(3)]
        errors = await asyncio.gather(*asks, return_exceptions=True)
        for error in errors:
            assert isinstance(error, ModelNotReadyError)
            assert "no weights" in str(error)
        assert "no weights" in status_of(manager, "m")["reason"]
        assert manager.available_models() == []
        write_graph(tmp_path / "m", echo_graph())
        with pytest.raises(ModelNotReadyError) as refused:
            await ask(manager, "m")
        assert refused.value.retry_after_s is not None
        assert 0 < refused.value.retry_after_s <= 1
        await asyncio.sleep(1)
        assert await ask(manager, "m") == "hello"
        assert status_of(manager, "m")["status"]["error_code"] == "OK"


async def test_what_failed_is_tried_again_without_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "RETRY_PAUSE_S", 0.1)
    monkeypatch.setattr(residency, "RETRY_ALONE_S", 0.2)
    graphs = {"m": echo_graph()}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        await until(lambda: not status_of(manager, "m")["loaded"])
        graph = (tmp_path / "m" / "graph.pbtxt").rename(tmp_path / "graph.pbtxt")
        with pytest.raises(ModelNotReadyError, match="graph.pbtxt"):
            await ask(manager, "m")
        graph.rename(tmp_path / "m" / "graph.pbtxt")
        await until(lambda: manager.available_models() != [])


async def test_a_changed_model_is_loaded_from_its_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.0)
    graphs = {"m": echo_graph()}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        await until(lambda: not status_of(manager, "m")["loaded"])
        write_graph(tmp_path / "m", echo_graph(hold_mb=1))
        before = status_of(manager, "m")["unloaded"]
        await asyncio.sleep(1)  # the time of `unloaded` has whole seconds
        assert await manager.reload(retry_failed=False)
        assert status_of(manager, "m").get("unloaded") != before
        await until(lambda: not status_of(manager, "m")["loaded"])
        assert not await manager.reload(retry_failed=False)
        assert not status_of(manager, "m")["loaded"]


async def test_a_model_changes_its_group_without_being_loaded_again(tmp_path: Path) -> None:
    graphs = {"m": echo_graph()}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        await until(lambda: not status_of(manager, "m")["loaded"])
        file = tmp_path / "config.json"
        document = json.loads(file.read_text())
        document["model_config_list"][0]["config"]["group_name"] = "permanent"
        file.write_text(json.dumps(document))
        assert not await manager.reload(retry_failed=False)
        await ask(manager, "m")
        await asyncio.sleep(2 * IDLE_S)
        assert status_of(manager, "m")["loaded"]


async def test_the_server_stops_while_a_model_is_loaded_on_demand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    graphs = {"m": echo_graph(open_s=1.5)}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        await until(lambda: not status_of(manager, "m")["loaded"])
        request = asyncio.create_task(ask(manager, "m"))
        await until(lambda: "Loading model m (on demand)" in caplog.text)
        await manager.close(5)
        with pytest.raises(ModelNotReadyError, match="shutting down"):
            await request
        loading = asyncio.create_task(manager.wait_for_reloads())
        await asyncio.sleep(0)
        assert not loading.done(), "nobody has waited for it"
        await loading
        assert status_of(manager, "m")["state"] == "END"


async def test_a_removed_model_is_not_loaded_again(tmp_path: Path) -> None:
    graphs = {"m": echo_graph(), "other": echo_graph()}
    async with resident_manager(tmp_path, graphs, idle_unload_timeout_s=IDLE_S) as manager:
        await until(lambda: not status_of(manager, "m")["loaded"])
        graph = manager.get("m").graph
        file = tmp_path / "config.json"
        document = json.loads(file.read_text())
        del document["model_config_list"][0]
        file.write_text(json.dumps(document))
        await manager.reload(retry_failed=False)
        with pytest.raises(ModelNotReadyError, match="removed"):
            async with graph.start_run(object()):
                pass
