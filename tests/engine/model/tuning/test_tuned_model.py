"""Loading with tuned properties, and without them where that fails."""

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model.model_runner import ModelRunner
from server.engine.model.tuning import tuned_model, tuner
from server.engine.model.tuning.saved_choices import SAVED_FILE, SavedChoices, TuningRecord
from server.errors import ModelLoadError
from tests.engine.conftest import load_once

U8 = {"KV_CACHE_PRECISION": "u8"}


def test_tuned_properties_that_cannot_be_loaded_are_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = EngineConfig(folder, plugin_config=U8, num_kv_blocks=20, auto_tune=True)
    saved = SavedChoices(config, "CPU")
    saved.keep(TuningRecord({"NO_SUCH_PROPERTY": 1}, is_complete=True))
    monkeypatch.setattr(tuned_model, "tune", tuner.tune)
    engine = LLMEngine(config)
    engine.close()
    assert engine.status["auto_tuned"] == {}
    assert "loading it again without the tuned properties" in caplog.text
    assert saved.find() is None


def test_what_failed_to_load_is_freed_before_the_next_attempt(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models at a time may need more memory than there is."""
    monkeypatch.setattr(
        tuned_model, "tune", lambda *_: tuner.Tuning(TuningRecord({"NO_SUCH_PROPERTY": 1}))
    )
    held: list[weakref.ref[Any]] = []

    class Loaded:
        pass

    def load(_: Path, __: str, properties: dict[str, Any], *___: Any) -> Any:
        if "NO_SUCH_PROPERTY" in properties:
            part = Loaded()
            held.append(weakref.ref(part))
            raise ModelLoadError("the rest of it does not fit")
        assert [ref() for ref in held] == [None]
        return load_once(folder, "CPU", U8)

    monkeypatch.setattr(tuned_model, "load_model", load)
    config = EngineConfig(folder, plugin_config=U8, auto_tune=True)
    assert tuned_model.TunedModel(config, None).load().device.name == "CPU"


def test_the_choice_of_a_load_that_failed_later_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned_model, "tune", tuner.tune)

    def fail(*_: Any) -> float:
        raise RuntimeError("no memory for this step")

    monkeypatch.setattr(ModelRunner, "warm_up", fail)
    with pytest.raises(ModelLoadError, match="no memory for this step"):
        LLMEngine(EngineConfig(folder, plugin_config=U8, num_kv_blocks=20, auto_tune=True))
    assert not (folder / SAVED_FILE).exists()


@pytest.fixture
def tuned_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMEngine]:
    monkeypatch.setattr(tuned_model, "tune", tuner.tune)
    engine = LLMEngine(EngineConfig(folder, plugin_config=U8, num_kv_blocks=20, auto_tune=True))
    yield engine
    engine.close()


def test_a_real_engine_is_tuned_and_says_so(tuned_engine: LLMEngine, folder: Path) -> None:
    (entry,) = json.loads((folder / SAVED_FILE).read_text())
    status = tuned_engine.status
    assert status["device"] == "CPU"
    assert status["plugin_config"] == U8
    assert status["auto_tuned"] == entry["properties"]
    assert status["tuning"] == {name: value for name, value in entry.items() if name != "key"}
    assert status["tuning"]["is_complete"]
    default, *others = status["tuning"]["candidates"]
    assert (default["properties"], default["share"]) == ({}, 1.0)
    assert others
    assert default["ms"].keys() == {"decode_1", "decode_16", "decode_64", "prompt_256"}
    assert {"is_amx_used", "fused_mlps"} < status["kernels"].keys()
    assert entry["key"]["plugin_config"] == U8
