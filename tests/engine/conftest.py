"""Engines that run the real test model, and the answers of transformers to compare with."""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_zoo import kinds, reference
from model_zoo.zoo import make_models
from support.engine_helpers import F32
from support.made_models import make_once

from server.engine.adapters.settings import NO_ADAPTERS, AdapterSettings
from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model import warm_up
from server.engine.model.model_loader import LoadedModel, load_model
from server.engine.model.tuning import tuned_model
from server.engine.model.tuning.saved_choices import SAVED_FILE
from server.engine.model.tuning.saved_sizes import SIZES_FILE
from server.host.memory import RESERVATIONS

PROMPT_LENGTHS = (
    *(1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 34, 48, 63, 64, 65),
    *(90, 100, 127, 128, 129, 200, 256, 300),
)
NUM_GREEDY_TOKENS = 64

Prompts = list[list[int]]


@functools.cache
def _load(
    models_path: Path,
    device: str,
    properties: tuple[tuple[str, Any], ...],
    has_head: bool,
    adapters: AdapterSettings,
    is_tuned: bool,
) -> LoadedModel:
    return load_model(models_path, device, dict(properties), has_head, adapters, is_tuned)


def load_once(
    models_path: Path,
    device: str,
    plugin_config: dict[str, Any],
    has_head: bool = True,
    adapters: AdapterSettings = NO_ADAPTERS,
    is_tuned: bool = True,
) -> LoadedModel:
    """A compiled model, shared by the tests: compiling takes most of the time of an engine."""
    properties = tuple(plugin_config.items())
    return _load(models_path, device, properties, has_head, adapters, is_tuned)


@pytest.fixture(autouse=True)
def share_compiled_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned_model, "load_model", load_once)


@pytest.fixture(autouse=True)
def warm_up_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of engines here run the same compiled model, which is warm already."""
    monkeypatch.setattr(warm_up, "MAX_TOKENS", 2)


@pytest.fixture
def make_engine(model_f32: Path) -> Iterator[Callable[..., LLMEngine]]:
    """Engines of the test model in f32; at the end of the test they must hold no block."""
    reserved = RESERVATIONS.total_bytes
    engines = []

    def make(**fields: Any) -> LLMEngine:
        # The size of a step must not depend on the speed of the machine.
        steady = {"target_inter_token_latency_ms": 0}
        settings = {"plugin_config": F32, "num_kv_blocks": 300, **steady, **fields}
        engines.append(LLMEngine(EngineConfig(model_f32, **settings)))
        return engines[-1]

    yield make
    for engine in engines:
        assert not engine.has_work
        assert engine.kv.num_used_blocks == 0
        engine.close()
    assert RESERVATIONS.total_bytes == reserved


@pytest.fixture(scope="session")
def hybrid_model(exporters: None) -> Path:
    """A layer with a convolution and a gated delta net, and one with attention."""
    name = "qwen3_next"
    sources = [Path(reference.__file__), *Path(kinds.__file__).parent.glob("*.py")]
    return make_once("hybrid", sources, lambda to: make_models(to, [name])) / name


@pytest.fixture
def folder(model_f32: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be changed, without anything that was measured."""
    measured = shutil.ignore_patterns(SAVED_FILE, SIZES_FILE)
    return Path(shutil.copytree(model_f32, tmp_path / "model", ignore=measured))


@pytest.fixture(scope="session")
def prompts(hf_model: Path) -> Prompts:
    """Prompts of random tokens, of lengths around every multiple of the block size."""
    from transformers import AutoConfig

    vocab_size = AutoConfig.from_pretrained(hf_model).vocab_size
    rng = np.random.default_rng(0)
    return [rng.integers(3, vocab_size, size).tolist() for size in PROMPT_LENGTHS]


@pytest.fixture(scope="session")
def greedy(hf_model: Path, model_f32: Path, prompts: Prompts) -> Prompts:
    """The next tokens by transformers in f32, past any end token; saved next to the model."""
    key = hashlib.sha256(repr((model_f32.name, prompts, NUM_GREEDY_TOKENS)).encode()).hexdigest()
    path = model_f32.with_name(f"greedy-{key[:16]}.npy")
    if not path.is_file():
        staging = path.with_name(f".{path.name}.{os.getpid()}.npy")
        np.save(staging, _generate_greedily(hf_model, prompts))
        staging.rename(path)
    return np.load(path).tolist()


@pytest.fixture(scope="session")
def log_softmax(hf_model: Path, prompts: Prompts) -> list[Any]:
    """Log probabilities by transformers: f32[tokens - 1, vocabulary] for each prompt."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(hf_model, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = [model(torch.tensor([prompt])).logits[0, :-1] for prompt in prompts]
    return [torch.log_softmax(rows, dim=1).numpy() for rows in logits]


def _generate_greedily(hf_model: Path, prompts: Prompts) -> Prompts:
    """All prompts at once, padded on the left, with their own positions."""
    import torch
    from transformers import AutoModelForCausalLM

    # Several threads make it many times slower on a busy machine.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(hf_model, dtype=torch.float32).eval()
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    past = None
    answers = []
    with torch.no_grad():
        while len(answers) < NUM_GREEDY_TOKENS:
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            output = model(
                tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            past = output.past_key_values
            tokens = output.logits[:, -1].argmax(1, keepdim=True)
            mask = torch.cat((mask, torch.ones_like(tokens)), 1)
            answers.append(tokens)
    torch.set_num_threads(num_threads)
    answer: Prompts = torch.cat(answers, 1).tolist()
    return answer
