"""Engines whose ends are checked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.async_readers import MakeEngine, num_engine_threads
from support.engine_helpers import F32

from server.engine.async_engine import AsyncLLMEngine
from server.engine.config import EngineConfig


@pytest.fixture
def make_engine(model_f32: Path) -> Iterator[MakeEngine]:
    """Engines that are closed at the end and must hold no block then."""
    num_threads = num_engine_threads()
    engines = []

    def make(**fields: Any) -> AsyncLLMEngine:
        settings = {"plugin_config": F32, "num_kv_blocks": 300, **fields}
        engines.append(AsyncLLMEngine(EngineConfig(model_f32, **settings)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        assert engine._collectors == {}
        if engine.failure is None:
            assert engine.engine.kv.num_used_blocks == 0
            assert not engine.engine.has_work
    assert num_engine_threads() == num_threads
