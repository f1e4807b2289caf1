import json
import logging
from pathlib import Path
from typing import Any

import pytest

from server.engine.config import EngineConfig
from server.engine.model.tuning import candidates, saved_entries, tuner
from server.engine.model.tuning.saved_choices import SAVED_FILE, SavedChoices
from server.engine.model.tuning.trial import Times, score, steps_for
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
    """In place of measuring: the seconds of steps with some properties, 1.0 with all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times_s: list[tuple[Properties, float]]):
        self.tried: list[Properties] = []
        self.runs: list[Properties] = []
        self.num_open = 0
        self.times_s = times_s
        self.times_of_64_s: dict[str, float] = {}
        self.now_s = 0.0
        self.seconds_each = 1.0
        monkeypatch.setattr(tuner, "compile_form", self.compile)
        monkeypatch.setattr(tuner, "Trial", lambda model, *_: FakeTrial(self, *model))
        monkeypatch.setattr(tuner, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(candidates, "_thread_counts", lambda *_: [])
        monkeypatch.setattr(candidates, "has_vnni", lambda: True)

    def compile(self, _: Any, models_path: Path, device: Any, properties: Properties) -> Any:
        if properties.get("INFERENCE_PRECISION_HINT") == "broken":
            raise ModelLoadError("broken")
        self.tried.append(dict(properties))
        self.now_s += self.seconds_each
        return dict(properties), load_once(models_path, device.name, properties)

    def run(self, properties: Properties) -> Times:
        self.runs.append(properties)
        time_s = next((time_s for known, time_s in self.times_s if known == properties), 1.0)
        precision = properties.get("INFERENCE_PRECISION_HINT")
        return time_s, time_s, self.times_of_64_s.get(precision, time_s), time_s


class FakeTrial:
    def __init__(self, machine: Machine, properties: Properties, model: Any) -> None:
        self.machine, self.properties, self.model = machine, properties, model
        machine.num_open += 1
        assert machine.num_open <= 2, "no more than two are compiled at a time"

    def run(self) -> Times:
        return self.machine.run(self.properties)

    def close(self) -> None:
        self.machine.num_open -= 1


@pytest.fixture(autouse=True)
def no_cache_filler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuner, "make_cache_filler", lambda: list)


def test_each_choice_is_made_with_the_best_of_those_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = [({**U8, **F32}, 0.5), ({**U8, **ROW_WISE}, 0.9), ({**U8, **F32, **BY_TOKEN}, 0.4)]
    machine = Machine(monkeypatch, times_s)
    assert tune(folder, U8) == {**F32, **BY_TOKEN}
    assert machine.tried == [U8, *(properties for properties, _ in times_s)]
    assert machine.num_open == 0


def test_candidates_take_turns_and_the_ones_that_cannot_win_are_dropped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {**U8, "KEY_CACHE_QUANT_MODE": "BY_CHANNEL"}
    fast, slow = {**stated, **F32}, {**stated, **ROW_WISE}
    machine = Machine(monkeypatch, [(fast, 0.5), (slow, 0.7)])
    tune(folder, stated)
    # Each runs once before it is measured.
    first = [stated, stated, fast, *[stated, fast] * tuner.NUM_ROUNDS]
    second = [slow, *[fast, slow] * tuner.LEAST_ROUNDS]
    assert machine.runs == [*first, *second]


def test_a_cpu_with_fused_mlps_tries_what_they_need_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    monkeypatch.setattr(tuner, "has_int8_amx", lambda: True)
    monkeypatch.setattr(tuner, "has_int8_matrices", lambda _: True)
    tune(folder, U8)
    assert machine.tried[1:3] == [{**U8, **ROW_WISE}, {**U8, **F32}]


@pytest.mark.parametrize(("time_of_64_s", "chosen"), [(0.9, F32), (9.0, {})])
def test_what_loses_at_64_sequences_is_not_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, time_of_64_s: float, chosen: Properties
) -> None:
    stated = {**U8, "KEY_CACHE_QUANT_MODE": "BY_CHANNEL"}
    machine = Machine(monkeypatch, [({**stated, **F32}, 0.9)])
    machine.times_of_64_s = {"f32": time_of_64_s}
    assert tune(folder, stated) == chosen


def test_requests_count_alike_alone_and_among_others() -> None:
    faster = [score((0.8, 1.0, 1.0, 0.0), 256), score((1.0, 1.0, 0.8, 0.0), 256)]
    assert faster == pytest.approx([0.8 ** (1 / 3) * score((1.0, 1.0, 1.0, 0.0), 256)] * 2)


def test_a_server_of_few_sequences_measures_no_more_of_them() -> None:
    assert [num for num, _, _ in steps_for(8)] == [1, 8, 8, 1]
    assert [num for num, _, _ in steps_for(256)] == [1, 16, 64, 1]


def test_what_was_measured_is_kept_with_the_choice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    tune(folder, U8)
    record = SavedChoices(EngineConfig(folder, plugin_config=U8), "CPU").find()
    assert record is not None
    assert record.is_complete
    assert [(each.properties, each.share) for each in record.candidates] == [
        ({}, 1.0),
        (F32, 0.5),
        (ROW_WISE, 1.0),
        ({**F32, **BY_TOKEN}, 1.0),
    ]
    assert record.candidates[1].times_s == (0.5, 0.5, 0.5, 0.5)
    assert len(machine.tried) == 4


def test_a_gain_that_may_be_noise_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, [({**U8, **F32}, 0.98), ({**U8, **BY_TOKEN}, 1.2)])
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
    assert machine.runs == []


def test_a_candidate_that_does_not_run_is_skipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Machine(monkeypatch, [])
    broken = [[{"INFERENCE_PRECISION_HINT": "broken"}]]
    monkeypatch.setattr(tuner, "find_choices", lambda *_, **__: broken)
    assert tune(folder, U8) == {}
    assert "does not run with {'INFERENCE_PRECISION_HINT': 'broken'}" in caplog.text


def test_a_tuning_that_runs_out_of_time_goes_on_at_the_next_load(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However slow it is, each load measures one more candidate."""
    caplog.set_level(logging.DEBUG)
    both = {**U8, **ROW_WISE, **BY_TOKEN}
    machine = Machine(monkeypatch, [({**U8, **ROW_WISE}, 0.5), (both, 0.1)])
    machine.seconds_each = tuner.BUDGET_S + 1
    assert tune(folder, U8) == {}
    assert "the next load goes on: no changes so far" in caplog.text
    assert machine.tried == [U8, {**U8, **F32}]
    machine.tried.clear()
    assert tune(folder, U8) == ROW_WISE
    assert machine.tried == [U8, {**U8, **ROW_WISE}]
    machine.tried.clear()
    assert tune(folder, U8) == {**ROW_WISE, **BY_TOKEN}
    assert machine.tried == [U8, {**U8, **ROW_WISE}, both]
    machine.tried.clear()
    assert tune(folder, U8) == {**ROW_WISE, **BY_TOKEN}
    assert not machine.tried


def test_a_candidate_that_did_not_run_is_not_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, [])
    broken = {"INFERENCE_PRECISION_HINT": "broken"}
    monkeypatch.setattr(tuner, "find_choices", lambda *_, **__: [[broken, F32]])
    machine.seconds_each = tuner.BUDGET_S + 1
    assert tune(folder, U8) == {}
    assert tune(folder, U8) == {}
    assert machine.tried == [U8, U8, {**U8, **F32}]


def test_an_interrupted_tuning_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, [])

    def interrupt(_: Any) -> Any:
        if len(machine.tried) == 2:
            raise KeyboardInterrupt
        return 1.0, 1.0, 1.0, 1.0

    monkeypatch.setattr(machine, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(folder, U8)
    assert machine.num_open == 0
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


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": [{}]},
        {"candidates": None},
        {"candidates": [{"properties": {}, "share": 1.0, "ms": {"decode_1": 1.0}}]},
        {"candidates": [{"properties": {}, "share": float("nan"), "ms": None}]},
        {"properties": {"A": None}},
        {"layers": [4]},
        {"is_complete": 1},
    ],
)
def test_an_entry_that_makes_no_sense_is_measured_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Properties
) -> None:
    machine = Machine(monkeypatch, [({**U8, **F32}, 0.5)])
    assert tune(folder, U8) == F32
    (entry,) = json.loads((folder / SAVED_FILE).read_text())
    (folder / SAVED_FILE).write_text(json.dumps([entry | change]))
    machine.tried.clear()
    assert tune(folder, U8) == F32
    assert machine.tried


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
    def fail(*_: Any) -> Any:
        raise RuntimeError("Check 'x' failed")

    machine = Machine(monkeypatch, [])
    monkeypatch.setattr(machine, "run", fail)
    with pytest.raises(ModelLoadError, match="OpenVINO cannot run it: Check 'x' failed"):
        tune(folder, U8)
    assert not (folder / SAVED_FILE).exists()


@pytest.mark.parametrize("device", ["GPU.0", "CPUX", "AUTO:CPU"])
def test_other_devices_are_not_tuned(folder: Path, device: str) -> None:
    assert tune(folder, {}, device=device) == {}
    assert not (folder / SAVED_FILE).exists()
