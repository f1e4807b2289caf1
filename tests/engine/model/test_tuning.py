import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model import tuned_model, tuning
from server.engine.model.tuning import STEPS, Tuning
from server.engine.model.tuning_record import RECORD_FILE
from server.errors import ModelLoadError
from tests.engine.conftest import load_once

Properties = dict[str, Any]

ROW_WISE = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "65536"}
F32 = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"}
BY_TOKEN = {"KEY_CACHE_QUANT_MODE": "BY_TOKEN"}
U8 = {"KV_CACHE_PRECISION": "u8"}
WIDE = {"KV_CACHE_PRECISION": "f16"}


def tune(folder: Path, device: str, stated: Properties, **fields: int) -> Tuning:
    config = EngineConfig(folder, device=device, plugin_config=stated, **fields)
    return tuning.tune(config, None)


class Machine:
    """Instead of measuring: the seconds of a step with some properties, 1.0 for all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times_s: list[tuple[Properties, float]]):
        self.tried: list[Properties] = []
        self.times_s = times_s
        self.now_s = 0.0
        self.seconds_each = 1.0
        monkeypatch.setattr(tuning, "load_model", self.load)
        monkeypatch.setattr(tuning, "measure", self.measure)
        monkeypatch.setattr(tuning, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(tuning, "_thread_counts", list)

    def load(self, models_path: Path, device: str, properties: Properties) -> Any:
        if properties.get("INFERENCE_PRECISION_HINT") == "broken":
            raise ModelLoadError("broken")
        self.tried.append(dict(properties))
        return load_once(models_path, device, properties)

    def measure(self, *_: Any) -> list[float]:
        self.now_s += self.seconds_each
        found = [time_s for properties, time_s in self.times_s if properties == self.tried[-1]]
        return [*(found or [1.0]), *[1.0] * (len(STEPS) - 1)]


@pytest.fixture
def folder(model_f32: Path, tmp_path: Path) -> Path:
    """The model in a folder of its own, which nobody has tuned."""
    shutil.copytree(model_f32, tmp_path / "model")
    (tmp_path / "model" / RECORD_FILE).unlink(missing_ok=True)
    return tmp_path / "model"


def test_each_choice_is_made_with_the_best_of_those_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = [({**U8, **ROW_WISE}, 0.9), ({**U8, **F32}, 0.5), ({**U8, **F32, **BY_TOKEN}, 0.4)]
    machine = Machine(monkeypatch, times_s)
    assert tune(folder, "CPU", U8).properties == {**F32, **BY_TOKEN}
    assert machine.tried == [U8, *(properties for properties, _ in times_s)]


def test_a_gain_that_may_be_noise_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, [({**U8, **F32}, 0.96), ({**U8, **BY_TOKEN}, 1.2)])
    assert tune(folder, "CPU", U8).properties == {}


def test_what_the_user_states_is_never_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {**U8, "EXECUTION_MODE_HINT": "ACCURACY", "KEY_CACHE_QUANT_MODE": "BY_CHANNEL"}
    machine = Machine(monkeypatch, [])
    assert tune(folder, "CPU", stated).properties == {}
    assert machine.tried == [stated]
    group_size = {**U8, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}
    tune(folder, "CPU", group_size)
    assert all(tried.items() >= group_size.items() for tried in machine.tried[1:])
    assert len(machine.tried) > 2


def test_by_token_keys_are_for_8_bits_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, [])
    tune(folder, "CPU", {"KV_CACHE_PRECISION": "u4", "INFERENCE_PRECISION_HINT": "f32"})
    tune(folder, "CPU", {"KV_CACHE_PRECISION": "f32", "INFERENCE_PRECISION_HINT": "f32"})
    assert len(machine.tried) == 2


def test_a_cache_of_16_bits_is_a_candidate_where_nobody_states_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [(WIDE, 0.5)])
    fields = {"cache_size": 1, "max_num_seqs": 4}
    assert tune(folder, "CPU", {}, **fields).properties == WIDE
    stated: list[Properties] = [U8, {"VALUE_CACHE_PRECISION": "u8"}, {"KEY_CACHE_GROUP_SIZE": "32"}]
    for cache in stated:
        machine.tried.clear()
        tune(folder, "CPU", cache, **fields)
        assert machine.tried
        assert not any(tried.items() >= WIDE.items() for tried in machine.tried)


def test_short_memory_keeps_the_cache_of_8_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [(WIDE, 0.5)])
    assert tune(folder, "CPU", {}, cache_size=1, max_num_seqs=10_000).properties == {}
    assert WIDE not in machine.tried
    # Another bound is another case, for which that choice does not hold.
    assert tune(folder, "CPU", {}, cache_size=1, max_num_seqs=4).properties == WIDE


def test_a_cache_that_does_not_fit_is_told_before_anything_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    with pytest.raises(ModelLoadError, match="cache_size is 1000000 GB"):
        tune(folder, "CPU", {}, cache_size=1_000_000)
    assert machine.now_s == 0


def test_a_candidate_that_does_not_run_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Machine(monkeypatch, [])
    candidates = [[{"INFERENCE_PRECISION_HINT": "broken"}]]
    monkeypatch.setattr(tuning, "_choices", lambda *_: candidates)
    assert tune(folder, "CPU", U8).properties == {}
    assert "does not run with {'INFERENCE_PRECISION_HINT': 'broken'}" in caplog.text


def test_tuning_ends_when_its_time_is_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, [({**U8, **ROW_WISE}, 0.5)])
    machine.seconds_each = tuning.BUDGET_S / 2 + 1
    assert tune(folder, "CPU", U8).properties == ROW_WISE
    assert len(machine.tried) == 2


def test_a_choice_is_remembered_for_the_same_case_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    first = tune(folder, "CPU", U8)
    num_tried = len(machine.tried)
    second = tune(folder, "CPU", U8)
    assert (second.properties, second.is_remembered) == (first.properties, True)
    assert len(machine.tried) == num_tried
    tune(folder, "CPU", {**U8, "INFERENCE_NUM_THREADS": 1})
    assert len(machine.tried) > num_tried
    entries = json.loads((folder / RECORD_FILE).read_text())
    assert [entry["properties"] for entry in entries] == [F32, {}]


@pytest.mark.parametrize("text", ["", "{", "[1, {}]", '{"a": 1}', '[{"key": {}}]', "\x00\xff"])
def test_a_record_of_no_use_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    (folder / RECORD_FILE).write_text(text)
    assert tune(folder, "CPU", U8).properties == F32
    assert tune(folder, "CPU", U8).is_remembered


def test_a_folder_that_cannot_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    (folder / RECORD_FILE).mkdir()
    assert tune(folder, "CPU", U8).properties == F32
    assert not tune(folder, "CPU", U8).is_remembered


@pytest.mark.parametrize("name", ["openvino_model.xml", "openvino_model.bin"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelLoadError, match=f"{name} not found"):
        tune(folder, "CPU", U8)


def test_a_model_that_cannot_run_is_not_tuned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> list[float]:
        raise RuntimeError("Check 'x' failed")

    monkeypatch.setattr(tuning, "measure", fail)
    with pytest.raises(ModelLoadError, match="OpenVINO cannot run it: Check 'x' failed"):
        tune(folder, "CPU", U8)
    assert not (folder / RECORD_FILE).exists()


@pytest.mark.parametrize("device", ["GPU.0", "CPUX", "AUTO:CPU"])
def test_other_devices_are_not_tuned(folder: Path, device: str) -> None:
    assert tune(folder, device, {}).properties == {}
    assert not (folder / RECORD_FILE).exists()


def test_a_remembered_choice_that_cannot_be_loaded_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Tuning({"NO_SUCH_PROPERTY": 1}, is_remembered=True)
    monkeypatch.setattr(tuned_model, "tune", lambda *_: bad)
    engine = LLMEngine(EngineConfig(folder, plugin_config=U8, num_kv_blocks=20, auto_tune=True))
    assert engine.status["auto_tuned"] == {}
    assert "without what was tuned before" in caplog.text
    engine.close()


@pytest.fixture
def tuned_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMEngine]:
    monkeypatch.setattr(tuned_model, "tune", tuning.tune)
    engine = LLMEngine(EngineConfig(folder, plugin_config=U8, num_kv_blocks=20, auto_tune=True))
    yield engine
    engine.close()


def test_a_real_engine_measures_and_tells(tuned_engine: LLMEngine, folder: Path) -> None:
    (entry,) = json.loads((folder / RECORD_FILE).read_text())
    status = tuned_engine.status
    assert status["device"] == "CPU"
    assert status["plugin_config"] == U8
    assert status["auto_tuned"] == entry["properties"]
    assert {"is_amx_used", "fused_mlps"} < status["kernels"].keys()
    assert entry["key"]["plugin_config"] == U8
