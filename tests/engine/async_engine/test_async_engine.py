"""AsyncLLMEngine: many readers, slow readers, readers that leave, and every way to end."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from support.async_readers import (
    ENDLESS,
    HANG_S,
    SEARCH,
    MakeEngine,
    Prompts,
    first,
    params,
    read_all,
    until,
)

from server.engine import async_engine
from server.engine.async_engine import AsyncLLMEngine
from server.engine.model import model_runner
from server.engine.model.model_runner import ModelRunner
from server.engine.requests.generation import OutputCollector
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import EngineRequest
from server.errors import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
    ModelNotReadyError,
)
from server.payloads import SamplingParams


async def test_64_requests_at_once(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    positions = [i % 20 for i in range(64)]
    generations = [engine.generate(prompts[i], params()) for i in positions]
    results = await asyncio.gather(*map(read_all, generations))
    assert results == [{0: greedy[i][:16]} for i in positions]


async def test_a_slow_reader_gets_everything_merged(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    slow = engine.generate(prompts[5], params(24, n=2, logprobs=1))
    quick = engine.generate(prompts[6], params(30))
    await read_all(quick)
    await until(lambda: engine._collectors == {})
    await asyncio.sleep(0)
    outputs = [output async for output in slow]
    assert [output.index for output in outputs] == [0, 1]
    for output in outputs:
        assert output.token_ids == greedy[5][:24]
        assert output.logprobs is not None
        assert [entry.token_id for entry in output.logprobs] == greedy[5][:24]
        assert output.finish_reason == "length"


async def test_a_finished_request_is_forgotten_without_an_abort(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    generations = [engine.generate(prompts[i], params(3, n=2)) for i in range(8)]
    await asyncio.gather(*map(read_all, generations))
    await until(lambda: engine._collectors == {})
    engine.abort(generations[0].request.request_id)
    assert await read_all(engine.generate(prompts[9], params())) == {0: greedy[9][:16]}


async def test_an_abandoned_generation_is_aborted(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(max_num_seqs=2)
    abandoned = [engine.generate(prompts[i], ENDLESS) for i in range(2)]
    for generation in abandoned:
        await first(generation)
        engine.abort(generation.request.request_id)
    assert await read_all(engine.generate(prompts[9], params())) == {0: greedy[9][:16]}
    assert engine.engine.kv.num_used_blocks == 0


async def test_an_abort_before_the_first_step(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    generations = [engine.generate(prompts[20], ENDLESS) for _ in range(20)]
    for generation in generations:
        engine.abort(generation.request.request_id)
    await until(lambda: not engine._inbox and engine._collectors == {})
    assert engine.engine.kv.num_used_blocks == 0


async def test_a_cancelled_reader_can_abort(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()

    async def read() -> None:
        generation = engine.generate(prompts[3], ENDLESS)
        try:
            async for _ in generation:
                started.set()
        finally:
            engine.abort(generation.request.request_id)

    started = asyncio.Event()
    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: engine.engine.kv.num_used_blocks == 0)


async def test_stopping_one_choice_leaves_the_others(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    generation = engine.generate(prompts[11], params(40, n=3))
    tokens: dict[int, list[int]] = {}
    async for output in generation:
        tokens.setdefault(output.index, []).extend(output.token_ids)
        if output.index == 1:
            generation.stop_choice(1)
            generation.stop_choice(1)
    assert tokens[0] == tokens[2] == greedy[11][:40]
    assert len(tokens[1]) < 40


async def test_stopping_every_choice_ends_the_generation(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine()
    generation = engine.generate(prompts[11], params(None, n=3))
    stopped = set()
    async for output in generation:
        generation.stop_choice(output.index)
        stopped.add(output.index)
    assert stopped == {0, 1, 2}
    await until(lambda: engine._collectors == {})


async def test_stopping_a_choice_that_has_ended_leaves_the_others(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    generation = engine.generate(prompts[11], params(20, n=3))
    tokens: dict[int, list[int]] = {}
    async for output in generation:
        tokens.setdefault(output.index, []).extend(output.token_ids)
        if output.finish_reason is not None:
            generation.stop_choice(output.index)
    assert tokens == dict.fromkeys(range(3), greedy[11][:20])


async def collector_of(num_choices: int) -> OutputCollector:
    request = EngineRequest(0, np.array([1]), SamplingParams(n=num_choices), 9)
    return OutputCollector(request)


async def test_an_end_on_its_way_to_a_reader_who_stopped_the_choice_counts_once() -> None:
    collector = await collector_of(2)
    collector.put(SequenceOutput(0, 0, (5,)))
    assert [output.index for output in await collector.read()] == [0]
    collector.drop_choice(0)
    collector.put(SequenceOutput(0, 0, (6,), finish_reason="length"))
    collector.put(SequenceOutput(0, 1, (7,)))
    assert [output.token_ids for output in await collector.read()] == [[7]]
    collector.put(SequenceOutput(0, 1, (8,), finish_reason="length"))
    assert [output.token_ids for output in await collector.read()] == [[8]]
    assert await collector.read() == []


async def test_a_failure_after_the_end_is_ignored() -> None:
    collector = await collector_of(1)
    collector.put(SequenceOutput(0, 0, (5,), finish_reason="stop"))
    collector.fail(ModelNotReadyError("closed"))
    assert len(await collector.read()) == 1
    assert await collector.read() == []


async def test_each_request_of_a_failed_step_has_an_error_of_its_own() -> None:
    shared = GenerationError("bad")
    lengths = []
    for _ in range(5):
        collector = await collector_of(1)
        collector.put(SequenceOutput(0, 0, error=shared))
        with pytest.raises(GenerationError, match="bad") as raised:
            await collector.read()
        lengths.append(len(raised.traceback))
    assert len(set(lengths)) == 1


async def test_tokens_before_an_error_are_read_first() -> None:
    collector = await collector_of(1)
    collector.put(SequenceOutput(0, 0, (5,)))
    collector.put(SequenceOutput(0, 0, error=GenerationError("bad")))
    assert [output.token_ids for output in await collector.read()] == [[5]]
    with pytest.raises(GenerationError, match="bad"):
        await collector.read()


async def test_refused_requests_never_start(make_engine: MakeEngine) -> None:
    engine = make_engine(num_kv_blocks=4)
    with pytest.raises(ContextLengthError):
        engine.generate([5] * 200, params())
    with pytest.raises(InvalidRequestError):
        engine.generate([-5], params())
    assert engine._collectors == {}


async def test_two_event_loops(make_engine: MakeEngine, prompts: Prompts, greedy: Prompts) -> None:
    engine = make_engine()

    async def work(start: int) -> list[dict[int, list[int]]]:
        generations = [engine.generate(prompts[start + i], params()) for i in range(8)]
        return await asyncio.gather(*map(read_all, generations))

    there = asyncio.to_thread(asyncio.run, work(8))
    results = await asyncio.gather(work(0), there)
    assert results[0] + results[1] == [{0: greedy[i][:16]} for i in range(16)]


async def test_many_come_and_go(make_engine: MakeEngine, prompts: Prompts, greedy: Prompts) -> None:
    engine = make_engine(num_kv_blocks=24, max_num_seqs=12, enable_prefix_caching=True)
    rng = np.random.default_rng(5)

    async def client(number: int) -> None:
        position = int(rng.integers(18))
        n = int(rng.integers(1, 4))
        leaves_after = rng.integers(1, 60)
        await asyncio.sleep(rng.random() * 0.3)
        generation = engine.generate(prompts[position], params(20, n=n))
        tokens: dict[int, list[int]] = {i: [] for i in range(n)}
        stopped = set()
        try:
            async for output in generation:
                tokens[output.index] += output.token_ids
                if number % 3 == 0 and sum(map(len, tokens.values())) >= leaves_after:
                    return
                if number % 3 == 1 and output.index == 1:
                    stopped.add(1)
                    generation.stop_choice(1)
        finally:
            engine.abort(generation.request.request_id)
        for index in set(tokens) - stopped:
            assert tokens[index] == greedy[position][:20]

    await asyncio.gather(*map(client, range(60)))
    await until(lambda: not engine._inbox and engine._collectors == {})


async def test_a_search_is_read_with_all_its_answers(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    mate = engine.generate(prompts[5], params())
    generation = engine.generate(prompts[6], params(num_beams=4, n=3, logprobs=2))
    async with asyncio.timeout(HANG_S):
        outputs = [output async for output in generation]
    assert [output.index for output in outputs] == [0, 1, 2]
    for output in outputs:
        assert len(output.token_ids) == len(output.logprobs or ()) == 16
        assert output.finish_reason == "length"
    assert await read_all(mate) == {0: greedy[5][:16]}


async def test_a_search_whose_choices_are_all_stopped_is_over_for_its_reader(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine()
    generation = engine.generate(prompts[6], SEARCH)
    for index in range(3):
        generation.stop_choice(index)
    assert await read_all(generation) == {}
    engine.abort(generation.request.request_id)
    await until(lambda: engine._collectors == {})


async def test_tokens_are_handed_over_while_the_next_step_is_computed(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier, the loop's thread would delay the preparation of that step."""
    events: list[str] = []

    def note(event: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any) -> Any:
            events.append(event)
            return call(*args)

        return noting

    def compute(request: ov.InferRequest, overlapped: Callable[[], None]) -> None:
        events.append("begin")
        infer_overlapped(request, overlapped)
        events.append("end")

    engine = make_engine()
    infer_overlapped = model_runner._infer_overlapped
    hand_over = AsyncLLMEngine._hand_over
    monkeypatch.setattr(AsyncLLMEngine, "_hand_over", note("hand over", hand_over))
    monkeypatch.setattr(model_runner, "_infer_overlapped", compute)
    monkeypatch.setattr(ModelRunner, "prepare", note("prepare", ModelRunner.prepare))
    monkeypatch.setattr(async_engine, "_put_all", note("read", async_engine._put_all))
    await read_all(engine.generate(prompts[3], params(4)))
    steps = [event for event in events if event != "read"]
    plain, preparing = ["begin", "hand over", "end"], ["begin", "prepare", "hand over", "end"]
    expected = [*plain, *preparing, *preparing, *plain]
    assert steps[steps.index("begin") :][: len(expected)] == expected
    assert events.count("read") == 4
