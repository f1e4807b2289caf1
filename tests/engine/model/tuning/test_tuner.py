import json
import logging
from pathlib import Path
from typing import Any

import pytest

from server.engine.config import EngineConfig
from server.engine.model.tuning import candidates, saved_entries, tuner
from server.engine.model.tuning.saved_choices import SAVED_FILE
from server.engine.model.tuning.tuner import STEPS
from server.errors import ModelLoadError
from tests.engine.conftest import load_once

Properties = dict[str, Any]

ROW_WISE = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "65536"}
F32 = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"}
BY_TOKEN = {"KEY_CACHE_QUANT_MODE": "BY_TOKEN"}
U8 = {"KV_CACHE_PRECISION": "u8"}
WIDE = {"KV_CACHE_PRECISION": "f16"}


def tune(folder: Path, stated: Properties, **fields: Any) -> Properties:
    """Tune, and keep the choice as an engine does that loads with it."""
    tuning = tuner.tune(EngineConfig(folder, plugin_config=stated, **fields), None)
    tuning.keep()
    return tuning.properties


class Machine:
    """In place of measuring: the seconds of a step with some properties, 1.0 with all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times_s: list[tuple[Properties, float]]):
        self.tried: list[Properties] = []
        self.times_s = times_s
        self.now_s = 0.0
        self.seconds_each = 1.0
        monkeypatch.setattr(tuner, "load_model", self.load)
        monkeypatch.setattr(tuner, "measure", self.measure)
        monkeypatch.setattr(tuner, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(candidates, "_thread_counts", lambda *_: [])
        monkeypatch.setattr(candidates, "has_vnni", lambda: True)

    def load(self, models_path: Path, device: str, properties: Properties) -> Any:
        if properties.get("INFERENCE_PRECISION_HINT") == "broken":
            raise ModelLoadError("broken")
        self.tried.append(dict(properties))
        return load_once(models_path, device, properties)

    def measure(self, *_: Any) -> list[float]:
        self.now_s += self.seconds_each
        found = [time_s for properties, time_s in self.times_s if properties == self.tried[-1]]
        return [*(found or [1.0]), *[1.0] * (len(STEPS) - 1)]


def test_each_choice_is_made_with_the_best_of_those_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = [({**U8, **ROW_WISE}, 0.9), ({**U8, **F32}, 0.5), ({**U8, **F32, **BY_TOKEN}, 0.4)]
    machine = Machine(monkeypatch, times_s)
    assert tune(folder, U8) == {**F32, **BY_TOKEN}
    assert machine.tried == [U8, *(properties for properties, _ in times_s)]


def test_a_gain_that_may_be_noise_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, [({**U8, **F32}, 0.96), ({**U8, **BY_TOKEN}, 1.2)])
    assert tune(folder, U8) == {}


def test_properties_that_the_user_states_are_never_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {**U8, "EXECUTION_MODE_HINT": "ACCURACY", "KEY_CACHE_QUANT_MODE": "BY_CHANNEL"}
    machine = Machine(monkeypatch, [])
    assert tune(folder, stated) == {}
    assert machine.tried == [stated]
    group_size = {**U8, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}
    tune(folder, group_size)
    assert all(tried.items() >= group_size.items() for tried in machine.tried[1:])
    assert len(machine.tried) > 2


def test_a_cpu_without_vnni_tries_no_int8_activations(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    monkeypatch.setattr(candidates, "has_vnni", lambda: False)
    tune(folder, U8)
    assert machine.tried == [U8, {**U8, **BY_TOKEN}]


def test_by_token_keys_are_for_8_bits_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, [])
    tune(folder, {"KV_CACHE_PRECISION": "u4", "INFERENCE_PRECISION_HINT": "f32"})
    tune(folder, {"KV_CACHE_PRECISION": "f32", "INFERENCE_PRECISION_HINT": "f32"})
    assert len(machine.tried) == 2


def test_a_cache_of_16_bits_is_tried_unless_the_user_states_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [(WIDE, 0.5)])
    fields = {"cache_size": 1, "max_num_seqs": 4}
    assert tune(folder, {}, **fields) == WIDE
    stated: list[Properties] = [U8, {"VALUE_CACHE_PRECISION": "u8"}, {"KEY_CACHE_GROUP_SIZE": "32"}]
    for cache in stated:
        machine.tried.clear()
        tune(folder, cache, **fields)
        assert machine.tried
        assert not any(tried.items() >= WIDE.items() for tried in machine.tried)


def test_short_memory_keeps_the_cache_of_8_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [(WIDE, 0.5)])
    assert tune(folder, {}, cache_size=1, max_num_seqs=10_000) == {}
    assert WIDE not in machine.tried
    # With another limit the saved choice does not apply.
    assert tune(folder, {}, cache_size=1, max_num_seqs=4) == WIDE


def test_a_cache_that_does_not_fit_is_refused_before_anything_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    with pytest.raises(ModelLoadError, match="cache_size is 1000000 GB"):
        tune(folder, {}, cache_size=1_000_000)
    assert machine.now_s == 0


def test_a_candidate_that_does_not_run_is_skipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Machine(monkeypatch, [])
    broken = [[{"INFERENCE_PRECISION_HINT": "broken"}]]
    monkeypatch.setattr(tuner, "find_choices", lambda *_: broken)
    assert tune(folder, U8) == {}
    assert "does not run with {'INFERENCE_PRECISION_HINT': 'broken'}" in caplog.text


def test_a_tuning_that_runs_out_of_time_goes_on_at_the_next_load(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    best = {**U8, **ROW_WISE, **BY_TOKEN}
    machine = Machine(monkeypatch, [({**U8, **ROW_WISE}, 0.5), (best, 0.1)])
    machine.seconds_each = tuner.BUDGET_S / 2 + 1
    assert tune(folder, U8) == ROW_WISE
    assert "tuning stopped after 30 s with 1 of 3 candidates measured; the next" in caplog.text
    for _ in range(3):
        tune(folder, U8)
    assert tune(folder, U8) == {**ROW_WISE, **BY_TOKEN}
    rows = [{**U8, **ROW_WISE}, {**U8, **F32}, best]
    assert machine.tried == [U8, rows[0], U8, rows[1], U8, rows[2]]


def test_a_candidate_that_did_not_run_is_not_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    broken = {"INFERENCE_PRECISION_HINT": "broken"}

    def load(models_path: Path, device: str, properties: Properties) -> Any:
        if properties.items() >= broken.items():
            machine.now_s += tuner.BUDGET_S + 1
        return machine.load(models_path, device, properties)

    monkeypatch.setattr(tuner, "load_model", load)
    monkeypatch.setattr(tuner, "find_choices", lambda *_: [[broken, F32]])
    assert tune(folder, U8) == {}
    (entry,) = json.loads((folder / SAVED_FILE).read_text())
    assert list(entry["scores"].values()) == [None]
    assert tune(folder, U8) == {}
    assert machine.tried == [U8, U8, {**U8, **F32}]


def test_a_model_too_slow_for_any_candidate_is_measured_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    machine.seconds_each = tuner.BUDGET_S + 1
    assert [tune(folder, U8), tune(folder, U8)] == [{}, {}]
    assert machine.tried == [U8]


def test_an_interrupted_tuning_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, [])

    def interrupt(*_: Any) -> list[float]:
        if len(machine.tried) == 2:
            raise KeyboardInterrupt
        return machine.measure()

    monkeypatch.setattr(tuner, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(folder, U8)
    assert len(machine.tried) == 2
    assert not (folder / SAVED_FILE).exists()


def test_progress_is_reported_before_each_measurement(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    told: list[tuple[str, float]] = []
    tune(folder, U8, on_progress=lambda text, fraction: told.append((text, fraction)))
    assert told[0] == ("tuning: measuring the defaults", 0.0)
    assert told[-1][0] == "tuning: measuring candidate 3 of 3"
    fractions = [fraction for _, fraction in told]
    assert len(fractions) == len(set(fractions)) == len(machine.tried)
    assert fractions == sorted(fractions)
    assert fractions[-1] < tuner.PROGRESS_SHARE


def test_a_choice_is_kept_for_the_same_case_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    assert tune(folder, U8) == F32
    num_tried = len(machine.tried)
    assert tune(folder, U8) == F32
    assert len(machine.tried) == num_tried
    tune(folder, {**U8, "INFERENCE_NUM_THREADS": 1})
    assert len(machine.tried) > num_tried
    entries = json.loads((folder / SAVED_FILE).read_text())
    assert [entry["properties"] for entry in entries] == [F32, {}]


@pytest.mark.parametrize("name", ["has_int8_amx", "has_vnni"])
def test_a_cpu_of_the_same_name_with_other_features_is_another_case(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    machine = Machine(monkeypatch, [])
    for has_feature in (True, False):
        monkeypatch.setattr(saved_entries, name, lambda has_feature=has_feature: has_feature)
        machine.tried.clear()
        tune(folder, U8)
        assert machine.tried


@pytest.mark.parametrize("text", ["", "{", "[1, {}]", '{"a": 1}', '[{"key": {}}]', "\x00\xff"])
def test_an_unusable_file_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    (folder / SAVED_FILE).write_text(text)
    assert tune(folder, U8) == F32
    (entry,) = json.loads((folder / SAVED_FILE).read_text())
    assert entry["properties"] == F32


def test_a_folder_that_cannot_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    (folder / SAVED_FILE).mkdir()
    assert tune(folder, U8) == F32
    machine.tried.clear()
    assert tune(folder, U8) == F32
    assert machine.tried


@pytest.mark.parametrize("name", ["openvino_model.xml", "openvino_model.bin"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelLoadError, match=f"{name} not found"):
        tune(folder, U8)


def test_a_model_that_cannot_run_is_not_tuned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> list[float]:
        raise RuntimeError("Check 'x' failed")

    monkeypatch.setattr(tuner, "measure", fail)
    with pytest.raises(ModelLoadError, match="OpenVINO cannot run it: Check 'x' failed"):
        tune(folder, U8)
    assert not (folder / SAVED_FILE).exists()


@pytest.mark.parametrize("device", ["GPU.0", "CPUX", "AUTO:CPU"])
def test_other_devices_are_not_tuned(folder: Path, device: str) -> None:
    assert tune(folder, {}, device=device) == {}
    assert not (folder / SAVED_FILE).exists()
