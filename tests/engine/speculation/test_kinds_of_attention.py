"""Drafts where attention is more than plain: windows, chunks, rope factors that change, states."""

import logging
from pathlib import Path

import pytest
from model_zoo import kinds, reference
from model_zoo.zoo import make_models
from support.engine_helpers import F32, generate
from support.forced_drafts import force, mixed
from support.greedy_requests import params
from support.made_models import make_once

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine

KINDS = ("mistral_window", "llama4", "phi3_longrope")


@pytest.fixture(scope="module")
def models(exporters: None) -> Path:
    sources = [Path(reference.__file__), *Path(kinds.__file__).parent.glob("*.py")]
    return make_once("kinds_of_attention", sources, lambda to: make_models(to, list(KINDS)))


def engine_of(folder: Path, **fields: bool) -> LLMEngine:
    config = EngineConfig(
        folder,
        plugin_config=F32,
        num_kv_blocks=60,
        target_inter_token_latency_ms=0,
        **fields,
    )
    return LLMEngine(config)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_same(models: Path, kind: str) -> None:
    """Over the ends of windows, chunks and blocks, and the switch to the long factors."""
    asked = reference.prompts((5, 17, 60, 100, 120))
    plain_engine = engine_of(models / kind)
    plain = generate(plain_engine, asked, params(40))
    plain_engine.close()
    engine = engine_of(models / kind, prompt_lookup=True)
    force(engine, mixed({(tuple(p), 0): t for p, t in zip(asked, plain, strict=True)}))
    assert generate(engine, asked, params(40)) == plain
    assert engine.stats.num_accepted_tokens > 0
    assert engine.kv.num_used_blocks == 0
    engine.close()


def test_a_model_with_states_has_no_drafts(
    hybrid_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = engine_of(hybrid_model, prompt_lookup=True)
    assert "no drafts: the model has states" in caplog.text
    asked = reference.prompts((17,))
    generate(engine, [asked[0] * 3], params(12))
    assert engine.stats.num_drafts == 0
    engine.close()
