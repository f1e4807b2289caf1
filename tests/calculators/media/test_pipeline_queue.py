"""The queue in front of a pipeline: turns, cancellation, close."""

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from calculators.media.pipeline_queue import PipelineQueue
from server.graph import QueueLimits, RequestQueue
from server.payloads import InferRequest


@pytest.fixture
def queue() -> Iterator[PipelineQueue]:
    queue = PipelineQueue("test")
    yield queue
    queue.close()


class Gate:
    """Work that runs until it may end, or is told to stop."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.has_begun = threading.Event()
        self.was_stopped = False

    def __call__(self, cancelled: threading.Event) -> str:
        self.has_begun.set()
        while not self.open.wait(0.005):
            if cancelled.is_set():
                self.was_stopped = True
                break
        return "a"

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.has_begun.wait, 10)


async def test_work_runs_in_the_order_of_arrival(queue: PipelineQueue) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)

    await asyncio.gather(*(queue.run(lambda *_, i=i: work(i)) for i in range(3)))
    assert done == [0, 1, 2]


async def test_an_error_reaches_its_caller_alone(queue: PipelineQueue) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await queue.run(fail)
    assert await queue.run(lambda _: "a") == "a"


async def test_clients_take_turns(queue: PipelineQueue) -> None:
    counted = RequestQueue(QueueLimits())
    done: list[str] = []
    gate = Gate()
    running = [asyncio.create_task(queue.run(gate))]
    await gate.begun()
    for client in ("noisy", "noisy", "noisy", "quiet"):
        ticket = counted.admit([InferRequest((), client=client)])
        work = partial(lambda name, _: done.append(name), client)
        running.append(asyncio.create_task(queue.run(work, ticket)))
        await asyncio.sleep(0)
    assert queue.status() == {"running": 1, "waiting": 4}
    assert counted.num_requests == 4
    gate.open.set()
    await asyncio.gather(*running)
    assert done == ["noisy", "quiet", "noisy", "noisy"]
    assert queue.status() == {"running": 0, "waiting": 0}
    assert counted.num_requests == 0


async def test_cancelled_work_stops_and_makes_room(queue: PipelineQueue) -> None:
    first, second = Gate(), Gate()
    running = asyncio.create_task(queue.run(first))
    await first.begun()
    waiting = asyncio.create_task(queue.run(second))
    await asyncio.sleep(0)
    waiting.cancel()
    running.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    # The pipeline is lent again only after the first work has ended.
    assert await queue.run(lambda _: "a") == "a"
    assert first.was_stopped
    assert not second.has_begun.is_set()
    assert queue.status()["waiting"] == 0


async def test_close_waits_for_what_runs() -> None:
    queue = PipelineQueue("test")
    gate = Gate()
    running = asyncio.create_task(queue.run(gate))
    await gate.begun()
    threading.Timer(0.2, gate.open.set).start()
    start = time.monotonic()
    await asyncio.to_thread(queue.close)
    assert time.monotonic() - start > 0.1
    assert await running == "a"
