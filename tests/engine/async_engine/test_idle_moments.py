"""What an engine does while it has no requests, and that requests come first."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.async_readers import MakeEngine, params, read_all, until

from server.engine.async_engine import AsyncLLMEngine
from server.engine.model import warm_up
from server.engine.model.model_runner import ModelRunner
from server.host.watch import WatchedService

Prompts = list[list[int]]
SIZES = 24


class Steps:
    """Notes the steps of all engines: the size of one of padding, "r" for one of requests.

    While `are_held`, a step of padding in an idle moment counts in `num_held` and waits for `gate`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[int | str] = []
        self.are_held = False
        self.num_held = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        real_warm_up, real_run = ModelRunner.warm_up, ModelRunner.run

        def pad(runner: ModelRunner, size: int) -> float:
            self.seen.append(size)
            if self.are_held and threading.current_thread().name == "llm-engine":
                self.num_held.release()
                assert self.gate.acquire(timeout=60)
            return real_warm_up(runner, size)

        def run(runner: ModelRunner, *arguments: Any) -> Any:
            self.seen.append("r")
            return real_run(runner, *arguments)

        monkeypatch.setattr(ModelRunner, "warm_up", pad)
        monkeypatch.setattr(ModelRunner, "run", run)

    async def until_one_is_held(self) -> None:
        assert await asyncio.to_thread(self.num_held.acquire, timeout=60)

    def go_on(self) -> None:
        self.are_held = False
        self.gate.release()

    def padded_sizes(self) -> set[int | str]:
        return set(self.seen) - {"r"}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    monkeypatch.setattr(warm_up, "MAX_TOKENS", SIZES)
    # The model is ready after a single size, and no step is too long for an idle moment.
    monkeypatch.setattr(warm_up, "LOAD_S", 0.0)
    monkeypatch.setattr(warm_up, "IDLE_STEP_S", 1e9)
    return Steps(monkeypatch)


def is_done(engine: AsyncLLMEngine) -> Callable[[], bool]:
    return lambda: engine.engine.warm_up.next_s is None


async def test_an_engine_is_ready_before_all_sizes_have_run(
    make_engine: MakeEngine, steps: Steps, prompts: Prompts, greedy: Prompts
) -> None:
    steps.are_held = True
    engine = make_engine()
    await steps.until_one_is_held()
    assert set(steps.seen[:-1]) == {1}, "at least one real step runs before"
    steps.go_on()
    await until(is_done(engine))
    assert steps.padded_sizes() == {*range(1, 17), 18, 20, 22, 24}
    assert await read_all(engine.generate(prompts[4], params())) == {0: greedy[4][:16]}


async def test_a_request_waits_for_at_most_one_step_of_padding(
    make_engine: MakeEngine, steps: Steps, prompts: Prompts, greedy: Prompts
) -> None:
    steps.are_held = True
    engine = make_engine()
    for number in range(3):
        await steps.until_one_is_held()
        num_before = len(steps.seen)
        generations = [engine.generate(prompts[n], params()) for n in (number, number + 1)]
        steps.gate.release()
        answers = await asyncio.gather(*map(read_all, generations))
        assert answers == [{0: greedy[n][:16]} for n in (number, number + 1)]
        of_requests = steps.seen[num_before:]
        last = len(of_requests) - 1 - of_requests[::-1].index("r")
        assert set(of_requests[: last + 1]) == {"r"}, "no step of padding comes in between"
    await steps.until_one_is_held()
    steps.go_on()


async def test_answers_are_right_whatever_has_run(
    make_engine: MakeEngine, steps: Steps, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(max_num_batched_tokens=SIZES)
    for numbers in ([0, 5], [9, 10, 11], range(8), [3]):
        answers = await asyncio.gather(
            *(read_all(engine.generate(prompts[n], params())) for n in numbers)
        )
        assert answers == [{0: greedy[n][:16]} for n in numbers]
        await asyncio.sleep(0.05)
    await until(is_done(engine))


async def test_other_services_of_the_process_come_first(
    make_engine: MakeEngine, steps: Steps
) -> None:
    other = WatchedService("other", lambda _: None)
    with other.step():
        engine = make_engine()
        at_load = list(steps.seen)
        await asyncio.sleep(0.3)
        assert steps.seen == at_load
    await until(is_done(engine))
    other.close()


async def test_a_step_of_padding_that_fails_does_no_harm(
    make_engine: MakeEngine,
    steps: Steps,
    prompts: Prompts,
    greedy: Prompts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> float:
        raise RuntimeError("a fault in the test")

    steps.are_held = True
    engine = make_engine()
    await steps.until_one_is_held()
    monkeypatch.setattr(ModelRunner, "warm_up", fail)
    steps.go_on()
    await until(is_done(engine))
    assert "a step of padding failed" in caplog.text
    assert engine.failure is None
    assert await read_all(engine.generate(prompts[7], params())) == {0: greedy[7][:16]}


async def test_closing_waits_for_no_more_than_one_step(
    make_engine: MakeEngine, steps: Steps
) -> None:
    steps.are_held = True
    engine = make_engine()
    await steps.until_one_is_held()
    num_before = len(steps.seen)
    closing = asyncio.create_task(asyncio.to_thread(engine.close))
    await until(lambda: engine._is_closing)
    steps.go_on()
    await closing
    assert len(steps.seen) == num_before
