"""Models with adapters, and engines that serve them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.adapters import peft_files, reference
from support.engine_helpers import F32
from support.made_models import make_once

from server.engine import AdapterSettings, AdapterSource, EngineConfig, LLMEngine

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def adapted_models(exporters: None) -> Path:
    """The models of `support.adapters.reference`, with their adapters and answers."""
    sources = [Path(reference.__file__), Path(peft_files.__file__)]
    return make_once("adapted", sources, _make)


def _make(folder: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(TESTS)}
    script = [sys.executable, "-m", reference.__name__, str(folder)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def answers(adapted_models: Path) -> Callable[[str, str], list[Any]]:
    """What transformers answers: tokens and log probabilities for each prompt."""

    def read(kind: str, adapter: str) -> list[Any]:
        found = json.loads((adapted_models / kind / reference.REFERENCE).read_text())[adapter]
        assert isinstance(found, list)
        return found

    return read


@pytest.fixture
def open_adapted(adapted_models: Path) -> Iterator[Callable[..., LLMEngine]]:
    """Engines of these models, with some of the adapters a0, a1, ..."""
    engines = []

    def make(kind: str, names: tuple[str, ...], weights: str = "f32", **fields: Any) -> LLMEngine:
        folder = adapted_models / kind
        sources = tuple(AdapterSource(name, folder / name) for name in names)
        settings = {
            "plugin_config": F32,
            "num_kv_blocks": 100,
            "max_num_batched_tokens": 64,
            "target_inter_token_latency_ms": 0,
            "adapters": AdapterSettings(sources, is_open=True),
            **fields,
        }
        engines.append(LLMEngine(EngineConfig(folder / weights, **settings)))
        return engines[-1]

    yield make
    for engine in engines:
        assert not engine.has_work
        assert engine.kv.num_used_blocks == 0
        engine.close()
