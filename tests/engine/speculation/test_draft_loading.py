"""Which models can be draft models, and where none is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
from engine.conftest import load_once
from support.engine_helpers import F32
from support.greedy_requests import MakeEngine

from server.engine.config import DraftConfig, EngineConfig
from server.engine.engine import LLMEngine
from server.engine.speculation import draft_loading
from server.engine.speculation.draft_loading import load_draft
from server.errors import ConfigError, ModelLoadError


def test_a_model_with_states_cannot_be_a_draft_model(
    make_engine: MakeEngine, hybrid_model: Path
) -> None:
    with pytest.raises(ModelLoadError, match=f"{hybrid_model}: it cannot be a draft .* has states"):
        make_engine(draft=DraftConfig(hybrid_model))


def test_a_model_with_states_gets_no_drafts(
    hybrid_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draft = DraftConfig(Path("never/read"))
    engine = LLMEngine(
        EngineConfig(hybrid_model, plugin_config=F32, num_kv_blocks=20, max_num_seqs=2, draft=draft)
    )
    try:
        assert engine.describe_speculation() == {}
        assert "no drafts: the model has states" in caplog.text
    finally:
        engine.close()


def test_blocks_of_another_size(model_f32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_once(model_f32, "CPU", F32)
    small = replace(model, block_size=16)
    monkeypatch.setattr(draft_loading, "load_model", lambda *_: small)
    config = EngineConfig(model_f32, draft=DraftConfig(model_f32))
    with pytest.raises(
        ModelLoadError, match="on CPU have 16 tokens, .* on CPU 32; choose the same"
    ):
        load_draft(config, model)


def test_a_folder_that_is_not_there(make_engine: MakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="openvino_model.xml not found"):
        make_engine(draft=DraftConfig(tmp_path / "x"))


def test_properties_are_those_of_the_same_device(
    model_f32: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_once(model_f32, "CPU", F32)
    calls = []

    def note(path: Path, device: str, properties: object) -> object:
        calls.append((device, properties))
        return model

    monkeypatch.setattr(draft_loading, "load_model", note)
    for device in ("", "GPU.1"):
        draft = DraftConfig(model_f32, device=device)
        load_draft(EngineConfig(model_f32, plugin_config=F32, draft=draft), model)
    assert calls == [("CPU", F32), ("GPU.1", {})]


def test_numbers_are_not_negative() -> None:
    with pytest.raises(ConfigError, match="draft_cache_size is -1; it must be at least 0"):
        DraftConfig(Path("d"), cache_size=-1)
