"""A step that hangs, or a thread that dies: everybody is told, and another engine takes over."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.async_readers import MakeEngine, num_engine_threads, params, read_all, until
from support.engine_helpers import F32

from server.engine.async_engine import AsyncLLMEngine
from server.engine.config import EngineConfig
from server.engine.model.warm_up import WarmUp
from server.engine.replaceable_engine import ReplaceableEngine
from server.errors import GenerationError, ModelNotReadyError
from server.host.memory import RESERVATIONS
from server.host.watch import ABANDONED, WATCHDOG

Prompts = list[list[int]]


class Hang:
    """Makes steps of an engine hang until `release`."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self._may_end = threading.Event()

    def begin(self, engine: AsyncLLMEngine) -> None:
        run = engine.engine.runner.run

        def hang(*arguments: Any) -> Any:
            self.has_begun.set()
            assert self._may_end.wait(60)
            return run(*arguments)

        engine.engine.runner.run = hang  # type: ignore[method-assign]

    def release(self) -> None:
        self._may_end.set()


@pytest.fixture(autouse=True)
def no_idle_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """What engines do in idle moments would seem to hang as well when a test looks far ahead."""
    monkeypatch.setattr(WarmUp, "next_s", None)


@pytest.fixture
def hang() -> Iterator[Hang]:
    found = Hang()
    yield found
    found.release()


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `WATCHDOG.fail` was called with."""
    found: list[str] = []
    monkeypatch.setattr(WATCHDOG, "fail", found.append)
    return found


@pytest.fixture
def make_replaceable(model_f32: Path, hang: Hang) -> Iterator[Callable[[], ReplaceableEngine]]:
    made = []
    num_threads = num_engine_threads()

    def make() -> ReplaceableEngine:
        made.append(
            ReplaceableEngine(EngineConfig(model_f32, plugin_config=F32, num_kv_blocks=300))
        )
        return made[-1]

    yield make
    hang.release()
    for each in made:
        each.close()
    while num_engine_threads() > num_threads:
        time.sleep(0.01)


async def test_a_hung_step_is_given_up_and_another_engine_serves(
    make_replaceable: Callable[[], ReplaceableEngine], prompts: Prompts, greedy: Prompts, hang: Hang
) -> None:
    engine = make_replaceable()
    first = engine.current
    assert await read_all(first.generate(prompts[4], params())) == {0: greedy[4][:16]}
    hang.begin(first)
    running = first.generate(prompts[0], params())
    await asyncio.to_thread(hang.has_begun.wait, 10)
    waiting = first.generate(prompts[1], params())
    WATCHDOG.look(1)
    WATCHDOG.look(29)
    assert engine.failure is None
    WATCHDOG.look(1)
    WATCHDOG.look(100)
    for generation in (running, waiting):
        with pytest.raises(ModelNotReadyError, match="a step hangs: it has run for"):
            await read_all(generation)
    with pytest.raises(ModelNotReadyError, match="a step hangs"):
        first.generate(prompts[2], params())
    await until(lambda: engine.failure is None)
    assert engine.current is not first
    assert await read_all(engine.current.generate(prompts[4], params())) == {0: greedy[4][:16]}
    assert first.is_running
    # When the step comes back after all, its memory is freed, and the new engine goes on.
    hang.release()
    await until(lambda: not first.is_running)
    assert not hasattr(first.engine.runner, "_model")
    assert await read_all(engine.current.generate(prompts[4], params())) == {0: greedy[4][:16]}


async def test_the_process_fails_where_no_memory_is_left_for_another_engine(
    make_replaceable: Callable[[], ReplaceableEngine],
    prompts: Prompts,
    hang: Hang,
    failures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make_replaceable()
    monkeypatch.setattr("server.engine.replaceable_engine.available_bytes", lambda: -1)
    hang.begin(engine.current)
    generation = engine.current.generate(prompts[0], params())
    await asyncio.to_thread(hang.has_begun.wait, 10)
    WATCHDOG.look(1)
    WATCHDOG.look(100)
    with pytest.raises(ModelNotReadyError):
        await read_all(generation)
    await until(lambda: bool(failures))
    assert "beside the engine that hangs" in failures[0]
    assert engine.failure is not None


async def test_hung_engines_of_earlier_loads_count(
    make_replaceable: Callable[[], ReplaceableEngine],
    prompts: Prompts,
    hang: Hang,
    failures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.engine.replaceable_engine.MAX_ABANDONED", 1)
    num_before = len(ABANDONED)
    for num_hung in (1, 2):
        engine = make_replaceable()
        hang.has_begun.clear()
        hang.begin(engine.current)
        engine.current.generate(prompts[0], params())
        await asyncio.to_thread(hang.has_begun.wait, 10)
        WATCHDOG.look(1)
        WATCHDOG.look(100)
        assert len(ABANDONED) == num_before + num_hung
        await until(lambda engine=engine: bool(failures) or engine.failure is None)  # type: ignore[misc]
    assert "2 engines hang" in failures[0]


async def test_closing_does_not_wait_for_an_engine_that_was_given_up(
    make_engine: MakeEngine, prompts: Prompts, hang: Hang
) -> None:
    engine = make_engine()
    hang.begin(engine)
    engine.generate(prompts[0], params())
    await asyncio.to_thread(hang.has_begun.wait, 10)
    closing = asyncio.create_task(asyncio.to_thread(engine.close))
    await asyncio.sleep(0.2)
    assert not closing.done()
    WATCHDOG.look(1)
    WATCHDOG.look(100)
    await closing
    hang.release()
    await until(lambda: not engine.is_running)


async def test_a_slow_step_is_not_given_up_before_its_measured_cost(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make_engine()
    monkeypatch.setattr(engine.engine._costs, "predict", lambda *_: 10.0)
    hang.begin(engine)
    generation = engine.generate(prompts[4], params())
    await asyncio.to_thread(hang.has_begun.wait, 10)
    WATCHDOG.look(1)
    WATCHDOG.look(199)
    hang.release()
    assert await read_all(generation) == {0: greedy[4][:16]}


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("where", ["step", "action", "constraint"])
async def test_what_is_no_exception_does_not_end_the_thread(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    where: str,
) -> None:
    engine = make_engine()

    def fail(*_: Any) -> None:
        raise error

    owner, name = {
        "step": (engine.engine.runner, "run"),
        "action": (engine.engine, "add"),
        "constraint": (engine.engine._requests, "compute_masks"),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(GenerationError, match=type(error).__name__):
            await asyncio.wait_for(read_all(engine.generate(prompts[0], params())), 20)
    assert engine.is_running
    if where != "action":
        assert await read_all(engine.generate(prompts[4], params())) == {0: greedy[4][:16]}


async def test_a_thread_that_died_is_noticed(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    monkeypatch.setattr(engine, "_is_closing", True)  # so its loop ends
    with engine._wakeup:
        engine._wakeup.notify()
    await until(lambda: not engine.is_running)
    engine._is_closing = False
    generation = engine.generate(prompts[0], params())
    num_reserved = RESERVATIONS.total_bytes
    WATCHDOG.look(1)
    assert RESERVATIONS.total_bytes < num_reserved
    with pytest.raises(ModelNotReadyError, match="the thread 'llm-engine' has ended unexpectedly"):
        await read_all(generation)
