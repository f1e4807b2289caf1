"""Models come, go and change while the others serve."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fakes import RAW_GRAPH, describe_graph, echo_graph, write_graph, write_repository

from server.errors import ConfigError, ModelNotFoundError, ModelNotReadyError, ReloadError
from server.models.config import load_config, single_model_config
from server.models.loading import retirements
from server.models.model_manager import ModelManager
from server.payloads import GenerationRequest, TextChunk


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.0)


@asynccontextmanager
async def loaded(config: Path, drain_timeout_s: float = 10.0) -> AsyncIterator[ModelManager]:
    manager = ModelManager(load_config(config), drain_timeout_s)
    await manager.load_all()
    try:
        yield manager
    finally:
        await manager.close(0)
        await manager.wait_for_reloads()


async def ask(manager: ModelManager, name: str, prompt: str = "hi") -> str:
    run = manager.get(name).graph.start_run(GenerationRequest("id", prompt=prompt))
    async with run:
        return "".join([chunk.text async for chunk in run])


def version_of(manager: ModelManager, name: str) -> dict[str, Any]:
    (version,) = manager.status()[name]["model_version_status"]
    return dict(version)


async def until_loading(manager: ModelManager) -> None:
    async with asyncio.timeout(60):
        while not manager.is_loading:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def has_state(manager: ModelManager, name: str, state: str) -> bool:
    """A model that is new in the configuration may not be listed yet."""
    return name in manager.status() and version_of(manager, name)["state"] == state


async def until_state(manager: ModelManager, name: str, state: str) -> None:
    async with asyncio.timeout(60):
        while not has_state(manager, name, state):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_nothing_to_do(tmp_path: Path) -> None:
    async with loaded(write_repository(tmp_path, {"a": echo_graph(), "b": RAW_GRAPH})) as manager:
        graph = manager.get("a").graph
        assert await manager.reload(retry_failed=True) is False
        assert manager.get("a").graph is graph


async def test_a_new_model_and_a_removed_one(tmp_path: Path) -> None:
    async with loaded(
        write_repository(tmp_path, {"a": echo_graph(), "b": echo_graph()})
    ) as manager:
        graph = manager.get("b").graph
        write_repository(tmp_path, {"c": echo_graph(), "b": echo_graph()})
        assert await manager.reload(retry_failed=False) is True
        assert manager.served_names() == ("c", "b")
        assert [model.name for model in manager.available_models()] == ["c", "b"]
        assert manager.get("b").graph is graph, "what did not change is not touched"
        assert await ask(manager, "c") == "hi"
        with pytest.raises(ModelNotFoundError, match="there is no model 'a' any more"):
            manager.get("a")
        await until_state(manager, "a", "END")
        assert version_of(manager, "a")["status"]["error_code"] == "OK"

        write_repository(tmp_path, {"a": echo_graph()})
        assert await manager.reload(retry_failed=False) is True
        assert await ask(manager, "a") == "hi"
        assert version_of(manager, "a")["state"] == "AVAILABLE"
        assert list(manager.status()) == ["a", "b", "c"]


async def test_a_running_request_ends_on_the_old_graph(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph(), "gone": echo_graph()})
    async with loaded(config) as manager:
        graphs = [manager.get(name).graph for name in ("m", "gone")]
        request = GenerationRequest("id", prompt="one !pause two")
        async with graphs[0].start_run(request) as changed, graphs[1].start_run(request) as removed:
            write_repository(tmp_path, {"m": describe_graph()})
            assert await manager.reload(retry_failed=False) is True
            assert version_of(manager, "gone")["state"] == "UNLOADING"
            assert json.loads(await ask(manager, "m"))["prompt"] == "hi"
            for run in (changed, removed):
                assert "".join([chunk.text async for chunk in run]) == "one !pause two"
        await until_state(manager, "gone", "END")


async def test_at_most_two_graphs_of_a_model_are_in_memory(tmp_path: Path) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        request = GenerationRequest("id", prompt="one !pause two")
        async with manager.get("m").graph.start_run(request) as oldest:
            write_repository(tmp_path, {"m": describe_graph()})
            await manager.reload(retry_failed=False)
            write_repository(tmp_path, {"m": echo_graph()})
            third = asyncio.create_task(manager.reload(retry_failed=False))
            await asyncio.sleep(0.1)
            assert json.loads(await ask(manager, "m"))["prompt"] == "hi"
            assert "".join([chunk.text async for chunk in oldest]) == "one !pause two"
            assert not third.done()
        await third
        assert await ask(manager, "m") == "hi"


async def test_a_run_may_still_start_on_a_graph_that_was_just_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.2)
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        old = manager.get("m").graph
        write_repository(tmp_path, {"m": describe_graph()})
        await manager.reload(retry_failed=False)
        assert manager.get("m").graph is not old
        async with old.start_run(GenerationRequest("id", prompt="late")) as run:
            assert [chunk.text async for chunk in run] == ["late"]


async def test_a_request_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    request = GenerationRequest("id", prompt="!wait")
    async with (
        loaded(write_repository(tmp_path, {"m": echo_graph()}), drain_timeout_s=0.1) as manager,
        manager.get("m").graph.start_run(request) as run,
    ):
        write_repository(tmp_path, {"m": describe_graph()})
        await manager.reload(retry_failed=False)
        with pytest.raises(ModelNotReadyError, match="'m' was replaced"):
            await anext(run)


async def test_the_old_graph_serves_until_the_new_one_has_loaded(tmp_path: Path) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        created = manager.get("m").created
        write_repository(tmp_path, {"m": echo_graph(open_s=1.2)})
        reload = asyncio.create_task(manager.reload(retry_failed=False))
        await until_loading(manager)
        assert await ask(manager, "m") == "hi"
        assert version_of(manager, "m")["state"] == "AVAILABLE"
        assert not reload.done()
        assert await reload is True
        assert manager.get("m").created > created


async def test_a_change_that_cannot_be_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        write_repository(tmp_path, {"m": echo_graph(fail="no weights"), "n": echo_graph()})
        with pytest.raises(ReloadError, match="1 model.* could not be loaded\n  - m: .*no weights"):
            await manager.reload(retry_failed=False)
        assert await ask(manager, "m") == "hi"
        assert await ask(manager, "n") == "hi", "the others are taken over"
        version = version_of(manager, "m")
        assert (version["state"], version["status"]["error_code"]) == ("AVAILABLE", "OK")
        assert version["reason"].startswith("the model loaded before goes on serving")
        assert "no weights" in version["reason"]
        assert "the model loaded before goes on serving" in caplog.text
        assert await manager.reload(retry_failed=False) is False, "it did not change again"

        write_graph(tmp_path / "m", describe_graph())
        assert await manager.reload(retry_failed=False) is True
        assert "reason" not in version_of(manager, "m")


async def test_a_model_that_failed_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "config.json").write_text('{"model_config_list": [{"config": {"name": "m"}}]}')
    async with loaded(tmp_path) as manager:
        assert await manager.reload(retry_failed=False) is False
        with pytest.raises(ReloadError, match="there is no model in it"):
            await manager.reload(retry_failed=True)
        write_graph(tmp_path / "m", echo_graph())
        assert await manager.reload(retry_failed=False) is True
        assert await ask(manager, "m") == "hi"


async def test_a_sick_model_is_tried_again(tmp_path: Path) -> None:
    graph = echo_graph(sick_file="sick")
    async with loaded(write_repository(tmp_path, {"m": graph})) as manager:
        (tmp_path / "m/sick").touch()
        with pytest.raises(ModelNotReadyError, match="it is sick"):
            manager.get("m")
        assert await manager.reload(retry_failed=False) is False
        assert await manager.reload(retry_failed=True) is True


@pytest.mark.parametrize("text", ["{", '{"model_config_list": [{"config": {"nam": "m"}}]}'])
async def test_a_broken_configuration_changes_nothing(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    async with loaded(config) as manager:
        graph, status = manager.get("m").graph, manager.status()
        good = config.read_text()
        config.write_text(text)
        with pytest.raises(ConfigError, match="config.json"):
            await manager.reload(retry_failed=True)
        assert "Nothing is reloaded: " in caplog.text
        assert manager.get("m").graph is graph
        assert manager.status() == status
        config.unlink()
        with pytest.raises(ConfigError, match="No such file"):
            await manager.reload(retry_failed=True)
        config.write_text(good)
        assert await manager.reload(retry_failed=True) is False


async def test_half_a_file_is_read_again(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    async with loaded(config) as manager:
        good = write_repository(tmp_path, {"m": echo_graph(), "n": echo_graph()}).read_text()
        config.write_text(good[:40])
        reload = asyncio.create_task(manager.reload(retry_failed=True))
        await asyncio.sleep(0.05)
        config.write_text(good)
        assert await reload is True


@pytest.mark.parametrize("name", ["fakes.py", "graph.pbtxt", "weights.bin"])
async def test_a_change_of_one_file(name: str, tmp_path: Path) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph(models_path="./")})) as manager:
        assert manager.find_changes() == frozenset()
        with (tmp_path / "m" / name).open("a") as file:
            file.write("\n")
        ((path, _),) = manager.find_changes()
        assert path == tmp_path / "m" / name
        await manager.reload(retry_failed=False)
        assert manager.find_changes() == frozenset()


async def test_a_changed_calculator_is_the_one_that_runs(tmp_path: Path) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        file = tmp_path / "m/fakes.py"
        file.write_text(file.read_text().replace("text=word,", "text=word.upper(),"))
        assert await manager.reload(retry_failed=False) is True
        assert await ask(manager, "m") == "HI"


async def test_reloads_at_the_same_time_load_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        write_repository(tmp_path, {"m": echo_graph(open_s=0.2)})
        caplog.set_level(logging.INFO)
        caplog.clear()
        reloads = [manager.reload(retry_failed=True) for _ in range(5)]
        assert sorted(await asyncio.gather(*reloads)) == [False] * 4 + [True]
    assert caplog.text.count("Loading model m") == 1


async def test_a_reload_waits_for_the_first_load(tmp_path: Path) -> None:
    manager = ModelManager(load_config(write_repository(tmp_path, {"m": echo_graph(open_s=0.2)})))
    loading = asyncio.create_task(manager.load_all())
    await asyncio.sleep(0)
    assert await manager.reload(retry_failed=True) is False
    assert loading.done()
    await manager.close(0)


async def test_a_reload_goes_on_when_its_client_leaves(tmp_path: Path) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        write_repository(tmp_path, {"m": echo_graph(), "n": echo_graph(open_s=0.2)})
        reload = asyncio.create_task(manager.reload(retry_failed=True))
        await until_loading(manager)
        reload.cancel()
        await until_state(manager, "n", "AVAILABLE")
        assert reload.cancelled()
        assert has_state(manager, "m", "AVAILABLE")


async def test_stopping_during_a_reload(tmp_path: Path) -> None:
    manager = ModelManager(load_config(write_repository(tmp_path, {"m": echo_graph()})))
    await manager.load_all()
    write_repository(tmp_path, {"m": echo_graph(open_s=0.3)})
    reload = asyncio.create_task(manager.reload(retry_failed=True))
    await until_loading(manager)
    await manager.close(0)
    await manager.wait_for_reloads()
    with pytest.raises(ModelNotReadyError, match="the server is shutting down"):
        await reload
    assert version_of(manager, "m")["state"] == "END"


async def test_no_reload_after_stopping(tmp_path: Path) -> None:
    async with loaded(write_repository(tmp_path, {"m": echo_graph()})) as manager:
        await manager.close(0)
        write_repository(tmp_path, {"m": echo_graph(), "n": echo_graph()})
        with pytest.raises(ModelNotReadyError, match="the server is shutting down"):
            await manager.reload(retry_failed=True)
        assert "n" not in manager.status()


async def test_a_single_model_of_the_command_line(tmp_path: Path) -> None:
    write_graph(tmp_path / "x", echo_graph())
    manager = ModelManager(single_model_config("m", tmp_path / "x"))
    await manager.load_all()
    assert await manager.reload(retry_failed=True) is False
    write_graph(tmp_path / "x", describe_graph())
    assert await manager.reload(retry_failed=True) is True
    assert TextChunk.__name__ == manager.get("m").graph.output.type.__name__
    assert "hi" in await ask(manager, "m")
    await manager.close(0)
