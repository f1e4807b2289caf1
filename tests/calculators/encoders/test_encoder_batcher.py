"""Batches across callers: how many inferences, whose turn, and what happens to those who leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.encoder_models import CountingModel

from calculators.encoders.encoder_batcher import EncoderBatcher
from calculators.encoders.encoder_service import EncoderRow
from server.errors import InvalidRequestError, ModelNotReadyError, QueueFullError
from server.graph import QueueLimits, RequestQueue
from server.host.metrics import ENGINES
from server.payloads import EmbeddingRequest


def rows_of(*lengths: int, token: int = 1) -> list[EncoderRow]:
    return [EncoderRow((token,) * length) for length in lengths]


@asynccontextmanager
async def batcher_of(
    model: CountingModel, *, token_budget: int = 4096
) -> AsyncIterator[EncoderBatcher]:
    batcher = EncoderBatcher(model, "test", token_budget)
    try:
        yield batcher
    finally:
        model.release.set()
        await asyncio.to_thread(batcher.close)


@asynccontextmanager
async def busy(batcher: EncoderBatcher, model: CountingModel) -> AsyncIterator[None]:
    """While one inference runs; at the end it goes on."""
    model.release.clear()
    first = asyncio.create_task(batcher.run(rows_of(8)))
    await model.wait_for_batch()
    yield
    await asyncio.sleep(0)
    model.release.set()
    await first


async def test_outputs_come_in_the_order_of_the_rows() -> None:
    async with batcher_of(CountingModel()) as batcher:
        rows = [EncoderRow((20 + i,) * (1 + i * 37 % 100)) for i in range(50)]
        outputs = await batcher.run(rows)
        assert [output.tolist() for output in outputs] == [
            [20 + i, len(row)] for i, row in enumerate(rows)
        ]
        assert await batcher.run([]) == []


async def test_64_single_requests_cost_as_many_inferences_as_one_batch() -> None:
    model = CountingModel()
    async with batcher_of(model) as batcher:
        rows = rows_of(*(20 + i % 30 for i in range(64)))
        await batcher.run(rows)
        num_of_batch = len(model.batches)
        model.batches.clear()
        await asyncio.gather(*(batcher.run([row]) for row in rows))
        assert len(model.batches) == num_of_batch <= 5


async def test_requests_that_come_while_the_device_is_busy_run_together() -> None:
    model = CountingModel(delay_s=0.02)
    async with batcher_of(model) as batcher:

        async def ask_later(i: int) -> None:
            await asyncio.sleep(i * 0.0005)
            await batcher.run(rows_of(32))

        await asyncio.gather(*(ask_later(i) for i in range(64)))
        assert len(model.batches) <= 6
        assert len(model.batches[0]) == 1, "the first one waited for nobody"


async def test_a_long_list_does_not_hold_up_others() -> None:
    model = CountingModel()
    async with batcher_of(model, token_budget=320) as batcher:
        async with busy(batcher, model):
            huge = asyncio.create_task(batcher.run(rows_of(*[32] * 1000, token=2)))
            await asyncio.sleep(0)
            single = asyncio.create_task(batcher.run(rows_of(32, token=3)))
            await asyncio.sleep(0)
        await single
        assert not huge.done()
        number = next(i for i, batch in enumerate(model.batches) if batch[0].token_ids[0] == 3
                      or any(row.token_ids[0] == 3 for row in batch))  # fmt: skip
        assert number <= 2
        await huge


async def test_the_rows_of_a_caller_who_leaves_are_not_run() -> None:
    model = CountingModel()
    async with batcher_of(model, token_budget=64) as batcher:
        async with busy(batcher, model):
            leaving = asyncio.create_task(batcher.run(rows_of(*[32] * 100, token=2)))
            staying = asyncio.create_task(batcher.run(rows_of(32, token=3)))
            await asyncio.sleep(0)
            leaving.cancel()
        await staying
        assert {row.token_ids[0] for batch in model.batches for row in batch} == {1, 3}
        assert batcher.status()["num_waiting_rows"] == 0
        assert batcher.status()["num_waiting_tokens"] == 0


async def test_rows_that_are_planned_already_leave_as_well() -> None:
    model = CountingModel()
    async with batcher_of(model, token_budget=512) as batcher:
        model.release.clear()
        # Lengths that differ so much that one round makes two batches; the short rows go first.
        leaving = asyncio.create_task(batcher.run([*rows_of(256), *rows_of(*[8] * 20)]))
        await model.wait_for_batch()
        leaving.cancel()
        model.release.set()
        await batcher.run(rows_of(8, token=3))
        assert [len(batch) for batch in model.batches] == [20, 1]


async def test_a_full_queue_refuses() -> None:
    model, queue = CountingModel(), RequestQueue(QueueLimits(max_num_queued_tokens=120))
    tickets = [queue.admit([0]) for _ in range(3)]
    async with batcher_of(model) as batcher:
        async with busy(batcher, model):
            waiting = [
                asyncio.create_task(batcher.run(rows_of(60), ticket)) for ticket in tickets[:2]
            ]
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError, match="queue is full: 120 tokens wait"):
                await batcher.run(rows_of(8), tickets[2])
        await asyncio.gather(*waiting)
        assert queue.num_tokens == 0
        assert len(await batcher.run(rows_of(8), tickets[2])) == 1, "there is room again"
    assert (queue.num_requests, queue.num_tokens) == (0, 0)


async def test_a_client_with_many_calls_does_not_hold_up_another() -> None:
    model, queue = CountingModel(), RequestQueue(QueueLimits())
    done: list[str] = []

    async def run(client: str) -> None:
        ticket = queue.admit([EmbeddingRequest(("a",), client=client)])
        await batcher.run(rows_of(32), ticket)
        done.append(client)

    async with batcher_of(model, token_budget=64) as batcher:
        async with busy(batcher, model):
            calls = [asyncio.create_task(run("noisy")) for _ in range(100)]
            await asyncio.sleep(0)
            calls.append(asyncio.create_task(run("quiet")))
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
    assert "quiet" in done[:2], "it is in the next batch"


async def test_an_inference_that_would_end_the_process_fails_its_callers() -> None:
    class Leaving(CountingModel):
        def infer(self, *_: Any) -> Any:
            raise SystemExit("a library wants to leave")

    async with batcher_of(Leaving()) as batcher:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="SystemExit: a library wants to leave"):
                await asyncio.wait_for(batcher.run(rows_of(8)), 10)


async def test_a_failed_inference_fails_its_callers_only() -> None:
    model = CountingModel()
    async with batcher_of(model) as batcher:
        async with busy(batcher, model):
            bad = asyncio.create_task(batcher.run(rows_of(512, 512, token=13)))
            good = asyncio.create_task(batcher.run(rows_of(8)))
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="token 13"):
            await bad
        assert len(await good) == 1
        assert batcher.status()["num_waiting_tokens"] == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (EncoderRow(()), "a text has no tokens"),
        (EncoderRow((1,) * 513), "Input length 513 longer than allowed 512"),
        (EncoderRow((1, -1)), "token id -1 is unknown to the model; possible: from 0 to 999"),
        (EncoderRow((1, 1000)), "token id 1000 is unknown to the model"),
        (EncoderRow((1,), of_tokens=True), "this model has no vectors of single tokens"),
    ],
)
async def test_rows_that_the_model_cannot_take(row: EncoderRow, message: str) -> None:
    async with batcher_of(CountingModel()) as batcher:
        with pytest.raises(InvalidRequestError, match=message):
            await batcher.run([*rows_of(8), row])


async def test_work_is_split_over_idle_streams() -> None:
    model = CountingModel(num_streams=2)
    async with batcher_of(model) as batcher:
        await batcher.run(rows_of(*[32] * 16))
        assert [len(batch) for batch in model.batches] == [8, 8]


async def test_the_event_loop_goes_on_during_an_inference() -> None:
    model = CountingModel()
    model.release.clear()
    async with batcher_of(model) as batcher:
        running = asyncio.create_task(batcher.run(rows_of(8)))
        await model.wait_for_batch()
        assert not running.done()
        model.release.set()
        await running


async def test_status_counts() -> None:
    model = CountingModel()
    async with batcher_of(model) as batcher:
        await batcher.run(rows_of(5, 7))
        status: Any = batcher.status()
        assert (status["num_batches"], status["num_rows"], status["num_tokens"]) == (1, 2, 12)
        assert status["device"] == "none"


async def test_closing_refuses_what_waits() -> None:
    model = CountingModel()
    batcher = EncoderBatcher(model, "test", 64)
    async with busy(batcher, model):
        waiting = asyncio.create_task(batcher.run(rows_of(*[32] * 10)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
    with pytest.raises(ModelNotReadyError, match="the model was closed"):
        await waiting
    await closing


async def test_a_closed_batcher_refuses() -> None:
    model = CountingModel()
    async with batcher_of(model) as batcher:
        pass
    with pytest.raises(ModelNotReadyError, match="closed"):
        await batcher.run(rows_of(8))
    assert model.is_closed


async def test_the_metrics_count_rows_until_it_is_closed() -> None:
    model = CountingModel()
    batcher = EncoderBatcher(model, "test", 4096, "an embedder of a test")
    async with busy(batcher, model):
        waiting = asyncio.create_task(batcher.run(rows_of(3, 4)))
        await asyncio.sleep(0)
        load = ENGINES.by_model()["an embedder of a test"].load
        assert (load.num_running, load.num_waiting, load.kv_usage) == (1, 2, 0.0)
    await waiting
    stats = ENGINES.by_model()["an embedder of a test"].stats
    assert stats.finished["stop"] == stats.whole.count == stats.prompt_sizes.count == 3
    assert stats.prompt_tokens == 8 + 3 + 4
    await asyncio.to_thread(batcher.close)
    assert "an embedder of a test" not in ENGINES.by_model()
