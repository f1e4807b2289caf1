"""Every way an AsyncLLMEngine can end or fail, and what its readers get."""

import asyncio
from typing import Any

import pytest
from support.async_readers import (
    ENDLESS,
    SEARCH,
    MakeEngine,
    Prompts,
    first,
    num_engine_threads,
    params,
    read_all,
    until,
)

from server.engine import async_engine
from server.engine.model.model_runner import ModelRunner
from server.errors import (
    GenerationError,
    ModelNotReadyError,
)


async def test_closing_tells_the_readers(make_engine: MakeEngine, prompts: Prompts) -> None:
    num_threads = num_engine_threads()
    engine = make_engine(max_num_seqs=2)
    generations = [engine.generate(prompts[i], ENDLESS) for i in range(5)]
    await first(generations[0])
    readers = [asyncio.create_task(read_all(generation)) for generation in generations]
    await asyncio.to_thread(engine.close)
    for reader in readers:
        with pytest.raises(ModelNotReadyError, match="the model was unloaded"):
            await reader
    assert num_engine_threads() == num_threads


async def test_closing_tells_readers_that_have_just_come(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine()
    generations = [engine.generate(prompts[20], ENDLESS) for _ in range(20)]
    engine.close()
    for generation in generations:
        with pytest.raises(ModelNotReadyError, match="the model was unloaded"):
            await read_all(generation)


async def test_what_was_finished_can_be_read_after_closing(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    generation = engine.generate(prompts[3], params())
    await until(lambda: engine.engine.stats.generated_tokens == 16)
    engine.close()
    assert await read_all(generation) == {0: greedy[3][:16]}


async def test_after_closing_nothing_starts(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    engine.close()
    engine.close()
    with pytest.raises(ModelNotReadyError, match="the model is being unloaded"):
        engine.generate(prompts[3], params())
    engine.abort(0)


async def test_a_closed_event_loop_does_no_harm(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()

    async def leave() -> None:
        await first(engine.generate(prompts[2], ENDLESS))
        engine.generate(prompts[4], ENDLESS)

    await asyncio.to_thread(asyncio.run, leave())
    assert await read_all(engine.generate(prompts[9], params())) == {0: greedy[9][:16]}
    await until(lambda: not engine.engine.has_work)
    assert engine.failure is None


async def test_a_failed_step_reaches_its_readers_only(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ModelRunner.run
    steps: list[int] = []

    def run(runner: ModelRunner, step: Any, overlapped: Any = None) -> Any:
        steps.append(1)
        if len(steps) == 3:
            raise RuntimeError("a fault in the test")
        return real(runner, step, overlapped)

    monkeypatch.setattr(ModelRunner, "run", run)
    engine = make_engine(max_num_seqs=1)
    victim = engine.generate(prompts[3], params())
    other = engine.generate(prompts[4], params())
    with pytest.raises(GenerationError, match="a fault in the test"):
        await read_all(victim)
    assert await read_all(other) == {0: greedy[4][:16]}
    assert engine.failure is None


@pytest.mark.parametrize("where", ["schedule", "remove", "add"])
async def test_a_bug_in_the_thread_tells_all_readers_and_the_reason_stays(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    engine = make_engine()

    def fail(*_: Any) -> None:
        raise ValueError(f"a bug in {where}")

    monkeypatch.setattr(engine.engine.scheduler, where, fail)
    generations = [engine.generate(prompts[i], params(8)) for i in range(6)]
    results = await asyncio.gather(*map(read_all, generations), return_exceptions=True)
    assert all(isinstance(r, GenerationError | ModelNotReadyError) for r in results)
    assert engine.failure == f"the engine failed: a bug in {where}"
    with pytest.raises(ModelNotReadyError, match=f"a bug in {where}"):
        engine.generate(prompts[0], params())
    for generation in generations:
        engine.abort(generation.request.request_id)
    await until(lambda: not engine._inbox)
    assert engine.failure == f"the engine failed: a bug in {where}"


async def test_an_engine_in_failure_tells_readers_and_callers(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(max_num_seqs=1)

    def run(*_: Any) -> None:
        raise RuntimeError("a fault in the test")

    monkeypatch.setattr(ModelRunner, "run", run)
    generations = [engine.generate(prompts[i], params()) for i in range(6)]
    results = await asyncio.gather(*map(read_all, generations), return_exceptions=True)
    assert all(isinstance(r, GenerationError | ModelNotReadyError) for r in results)
    assert engine.failure is not None
    with pytest.raises(ModelNotReadyError, match="3 steps in a row failed"):
        engine.generate(prompts[0], params())


async def test_a_model_that_cannot_be_loaded_again_leaves_no_reader_waiting(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(max_num_seqs=1)

    def fail(*_: Any) -> None:
        raise RuntimeError("a fault in the test")

    monkeypatch.setattr(ModelRunner, "run", fail)
    monkeypatch.setattr(engine.engine._model, "load", fail)
    generations = [engine.generate(prompts[i], params(8)) for i in range(6)]
    results = await asyncio.wait_for(
        asyncio.gather(*map(read_all, generations), return_exceptions=True), 60
    )
    assert all(isinstance(r, GenerationError | ModelNotReadyError) for r in results)
    assert engine.failure == "the engine failed and could not recover: a fault in the test"


async def test_a_failed_engine_comes_back_when_its_model_works_again(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_REVIVAL_S", "REVIVAL_INTERVAL_S"):
        monkeypatch.setattr(async_engine, name, 0.05)
    engine = make_engine()
    tries: list[int] = []

    def run(*_: Any) -> None:
        tries.append(1)
        raise RuntimeError("a fault in the test")

    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "run", run)
        for position in range(3):
            with pytest.raises(GenerationError):
                await read_all(engine.generate(prompts[position], params()))
        await until(lambda: len(tries) > 4)
        assert engine.failure is not None
        with pytest.raises(ModelNotReadyError):
            engine.generate(prompts[0], params())
    await until(lambda: engine.failure is None)
    assert await read_all(engine.generate(prompts[4], params())) == {0: greedy[4][:16]}


async def test_searches_end_when_their_readers_leave_or_the_engine_closes(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(num_kv_blocks=60)
    endless = params(None, num_beams=4, n=3)
    left = [engine.generate(prompt, endless) for prompt in prompts[5:9]]
    await until(lambda: engine.engine.stats.num_steps > 5)
    for generation in left:
        engine.abort(generation.request.request_id)
    assert len(await read_all(engine.generate(prompts[5], SEARCH))) == 3
    await until(lambda: engine._collectors == {})
    assert engine.engine.kv.num_used_blocks == 0
    running = engine.generate(prompts[6], endless)
    num_steps = engine.engine.stats.num_steps
    await until(lambda: engine.engine.stats.num_steps > num_steps + 3)
    engine.close()
    with pytest.raises(ModelNotReadyError, match="the model was unloaded"):
        await read_all(running)
