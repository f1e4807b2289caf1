"""demos/benchmark/work_beside.py does the work once a step, beside the inference and before it."""

import threading
from pathlib import Path

import pytest
import work_beside

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine


def test_each_step_has_the_work_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    work = work_beside.work

    def count(milliseconds: float) -> None:
        threads.append(threading.current_thread())
        work(milliseconds)

    monkeypatch.setattr(work_beside, "work", count)
    engine = LLMEngine(EngineConfig(tiny_model, cache_size=1))
    num_free = engine.kv.num_free_blocks
    step_ms, _, _ = work_beside.measure(engine, num_sequences=3, work_ms=0.1, num_rounds=2)
    assert step_ms > 0
    num_before = threads.count(threading.main_thread())
    assert num_before == len(threads) - num_before == 2 * work_beside.NUM_STEPS
    assert not engine.has_work
    assert engine.kv.num_free_blocks == num_free
    engine.close()
