"""Models of which an inference hangs are loaded again beside what hangs."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.openvino_models import add_model, write_model
from support.resident_models import status_of, until

from calculators.openvino_inference_calculator import OpenVINOInferenceCalculator
from server.errors import ModelNotReadyError, ReloadError
from server.host.watch import ABANDONED, WATCHDOG
from server.models.config import load_config
from server.models.loading import retirements
from server.models.model_manager import ModelManager
from server.payloads import InferRequest
from server.tensors import Tensor


class Hang:
    """Lets the next inference hang until `release`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._is_due = False
        self._has_begun = threading.Event()
        self._may_end = threading.Event()
        infer = OpenVINOInferenceCalculator._infer

        def hang(*arguments: Any) -> Any:
            if self._is_due:
                self._is_due = False
                self._has_begun.set()
                assert self._may_end.wait(60)
            return infer(*arguments)

        monkeypatch.setattr(OpenVINOInferenceCalculator, "_infer", hang)

    async def cause(self, manager: ModelManager) -> None:
        """Let the inference of a request hang until the watchdog gives it up."""
        self._is_due = True
        self._has_begun.clear()
        request = asyncio.create_task(ask(manager, "add"))
        await asyncio.to_thread(self._has_begun.wait, 10)
        for seconds in (1, 1000):
            WATCHDOG.look(seconds)
        with pytest.raises(ModelNotReadyError, match="a step hangs"):
            await request

    def release(self) -> None:
        self._may_end.set()


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hang]:
    found = Hang(monkeypatch)
    yield found
    found.release()


@pytest.fixture
async def manager(
    tmp_path: Path, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ModelManager]:
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.0)
    for name in ("add", "other"):
        write_model(tmp_path / name, add_model())
    entries = [{"config": {"name": name, "base_path": name}} for name in ("add", "other")]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    found = ModelManager(load_config(config), 0.0)
    await found.load_all()
    yield found
    hang.release()
    await found.close(0)
    await found.wait_for_reloads()
    await until(lambda: not len(ABANDONED))


async def ask(manager: ModelManager, name: str) -> list[float]:
    data = b"\0\0\x80\x3f" * 3
    inputs = tuple(Tensor(each, "FP32", (1, 3), data) for each in "xy")
    async with manager.get(name).graph.start_run(InferRequest(inputs)) as run:
        (response,) = [each async for each in run]
    return list(memoryview(response.outputs[0].data).cast("B").cast("f"))


async def test_a_model_that_hangs_is_replaced(manager: ModelManager, hang: Hang) -> None:
    assert await ask(manager, "add") == [2, 2, 2]
    graph = manager.get("add").graph
    await manager.replace_hung()
    assert manager.get("add").graph is graph, "nothing hangs"
    await hang.cause(manager)
    status = status_of(manager, "add")
    assert status["state"] == "LOADING"
    assert "a step hangs: it has run for" in status["reason"]
    assert not manager.is_ready
    with pytest.raises(ModelNotReadyError, match="a step hangs"):
        manager.get("add")
    assert await ask(manager, "other") == [2, 2, 2]
    other = manager.get("other").graph
    await manager.replace_hung()
    assert manager.is_ready
    assert manager.get("add").graph is not graph
    assert manager.get("other").graph is other
    assert await ask(manager, "add") == [2, 2, 2]
    # The old graph is closed without a wait for what hangs.
    await until(lambda: not manager._retirements._tasks)
    assert len(ABANDONED) == 1


async def test_a_model_that_hangs_again_and_again(manager: ModelManager, hang: Hang) -> None:
    for _ in range(2):
        await hang.cause(manager)
        await manager.replace_hung()
        assert await ask(manager, "add") == [2, 2, 2]
    await hang.cause(manager)
    with pytest.raises(ReloadError, match="add: its inference hangs"):
        await manager.replace_hung()


async def test_a_model_that_cannot_be_loaded_again(
    manager: ModelManager, hang: Hang, tmp_path: Path
) -> None:
    await hang.cause(manager)
    (xml,) = (tmp_path / "add").rglob("*.xml")
    xml.write_text("no model")
    with pytest.raises(ReloadError, match="add: "):
        await manager.replace_hung()
    assert await ask(manager, "other") == [2, 2, 2]
