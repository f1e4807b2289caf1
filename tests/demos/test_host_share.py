"""demos/benchmark/host/host_share.py: every sampling method is measured, and the table."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from host import host_share

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[LLMEngine]:
    engine = LLMEngine(EngineConfig(tiny_model, cache_size=1, max_num_batched_tokens=256))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def clock(engine: LLMEngine) -> host_share.HostClock:
    return host_share.HostClock(engine)


def test_all_sequences_of_a_method_decode_in_each_step(
    engine: LLMEngine, clock: host_share.HostClock
) -> None:
    constraint = host_share.compile_schema(engine)
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
