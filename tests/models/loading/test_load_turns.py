"""Which models load side by side, and what is known before any is loaded."""

import asyncio
import json
import logging
import shutil
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.loading_fakes import GRAPH, LoadingCalculator

from calculators.llm_executor_calculator import LLMExecutorCalculator
from server.models.config import load_config
from server.models.loading import load_turns
from server.models.model_manager import ModelManager


@pytest.fixture(autouse=True)
def _none_opened() -> None:
    LoadingCalculator.opened_with.clear()


async def load(folder: Path, *calculators: str) -> list[tuple[str, int]]:
    """Load a model of each calculator; returns how many were being opened with each."""
    graphs = {f"m{i}": GRAPH.format(calculator=name) for i, name in enumerate(calculators)}
    manager = ModelManager(load_config(write_repository(folder, graphs)))
    await manager.load_all()
    assert len(manager.available_models()) == len(calculators)
    await manager.close(0)
    return LoadingCalculator.opened_with


async def test_models_load_side_by_side(tmp_path: Path) -> None:
    assert max(num for _, num in await load(tmp_path, *["LoadingCalculator"] * 3)) == 3


async def test_not_too_many_at_once(tmp_path: Path) -> None:
    num_models = load_turns.MAX_LOADS + 2
    opened = await load(tmp_path, *["LoadingCalculator"] * num_models)
    assert len(opened) == num_models
    assert max(num for _, num in opened) <= load_turns.MAX_LOADS


async def test_a_model_that_opens_alone_is_alone(tmp_path: Path) -> None:
    names = ["LoadingCalculator", "AloneCalculator"] * 2
    opened = await load(tmp_path, *names)
    assert len(opened) == 4
    assert {num for name, num in opened if name == "AloneCalculator"} == {1}
    assert max(num for _, num in opened) == 2


async def test_models_load_one_after_another_when_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_turns, "available_bytes", lambda: 1000)
    assert [num for _, num in await load(tmp_path, *["LoadingCalculator"] * 2)] == [1, 1]


async def test_reserved_memory_is_not_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_turns, "available_bytes", lambda: 2**40)
    load_turns.RESERVATIONS.add(2**40)
    try:
        assert [num for _, num in await load(tmp_path, *["LoadingCalculator"] * 2)] == [1, 1]
    finally:
        load_turns.RESERVATIONS.remove(2**40)


def test_llms_measure_and_share_memory_so_they_open_alone() -> None:
    assert LLMExecutorCalculator.contract.opens_alone


async def test_what_is_broken_is_known_before_anything_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    graphs = {"slow": echo_graph(open_s=0.5), "bad": "node {", "gone": echo_graph()}
    config = write_repository(tmp_path, graphs)
    shutil.rmtree(tmp_path / "gone")
    manager = ModelManager(load_config(config))
    loading = asyncio.create_task(manager.load_all())
    async with asyncio.timeout(60):
        while "Loading model slow (1 of 3)" not in caplog.text:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    assert not loading.done()
    assert "Model bad failed to load" in caplog.text
    assert "Model gone failed to load" in caplog.text
    for name in ("bad", "gone"):
        (version,) = manager.status()[name]["model_version_status"]
        assert version["reason"], json.dumps(version)
    await loading
    await manager.close(0)
