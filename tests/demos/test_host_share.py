"""demos/benchmark/host: every sampling method, mask and stream is measured, and the tables."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from host import host_share, mask_times, stream_cost
from measure import run_contenders
from server_contender import REPOSITORY, ServerContender

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine

MODEL = REPOSITORY / "server" / "bundled_models" / "tiny_chat"


@pytest.fixture(scope="module")
def engine() -> Iterator[LLMEngine]:
    engine = LLMEngine(EngineConfig(MODEL, cache_size=1, max_num_batched_tokens=256))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def clock(engine: LLMEngine) -> host_share.HostClock:
    return host_share.HostClock(engine)


def test_all_sequences_of_a_method_decode_in_each_step(
    engine: LLMEngine, clock: host_share.HostClock
) -> None:
    constraint = host_share.compile_for(engine)
    for mode in host_share.make_modes(engine.limits.vocab_size).values():
        own = constraint if mode.is_guided else None
        with host_share.running(engine, mode, 8, 16, own):
            between, beside = host_share.measure_decode(clock, 2)
            assert between > 0 < beside
            assert engine.scheduler.num_running == 8
        assert not engine.has_work


def test_log_probabilities_of_prompts_take_time(
    engine: LLMEngine, clock: host_share.HostClock
) -> None:
    assert host_share.measure_prompts(engine, clock, 2, 3) > 0
    assert not engine.has_work


def test_a_row_has_the_share_of_a_step() -> None:
    row = host_share.render_row("greedy", 8, 560.4, 100.0, 28.0)
    assert row == "| greedy | 8 | 560 | 2.00% | 100 |"


def test_masks_are_timed_token_by_token(engine: LLMEngine) -> None:
    constraint = host_share.compile_for(engine)
    times = mask_times.measure(constraint, set(engine.info.eos_token_ids), 5)
    assert len(times) == mask_times.NUM_ANSWERS * 5 - 1
    assert all(min(of_token) > 0 for of_token in times)
    row = mask_times.render_row("x", [(1.0, 2.0, 3.0), (3.0, 2.0, 5.0)])
    assert row == "| x | 2 (3, 3) | 2 (2, 2) | 4 (5, 5) |"


def test_streams_take_time_of_the_event_loop() -> None:
    async def spend() -> float:
        async with run_contenders([ServerContender(MODEL, cache_size_gb=1)]) as (process,):
            return await stream_cost.spend(process, np.random.default_rng(0), 1000, 3, 4)

    assert asyncio.run(spend()) > 0
    assert stream_cost.render_row(64, 40.0, 142.0) == "| 64 | 40.0 | 2.56 | 142 | 0.9% |"
