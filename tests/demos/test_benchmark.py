"""The benchmark demo: its contenders, the order of rounds, and real rounds on a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import arguments
import bounds
import contender
import machine
import make_model
import measure
import micro
import pytest
import run
from measure import Measured, MeasureSettings
from results import Results
from support.fake_contender import DEMO, LOAD, SETTINGS, FakeContender
from workloads import LoadSettings, find_workloads

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine

(W1,) = find_workloads(["W1"])


class TestMeasureWorkload:
    async def test_rounds_alternate_on_the_same_requests_and_the_warm_up_is_apart(
        self, tmp_path: Path
    ) -> None:
        one = MeasureSettings(LoadSettings(1_000, num_requests=1), num_rounds=2)
        fakes = [FakeContender(name, tmp_path / "calls") for name in "AB"]
        async with measure.run_contenders(fakes) as processes:
            measured = await measure.measure_workload(processes, W1, one)
        firsts = [W1.make_round(one.load, i)[0].turns[0].token_ids[0] for i in range(3)]
        calls = (tmp_path / "calls").read_text().splitlines()
        assert calls[2:] == [f"{name} {first}" for first in firsts for name in "AB"]
        assert [len(of_one.rounds) for of_one in measured.values()] == [2, 2]
        assert all(of_one.warm_up for of_one in measured.values())

    async def test_one_that_fails_is_left_out_and_the_others_go_on(self, tmp_path: Path) -> None:
        calls = tmp_path / "calls"
        fakes = [FakeContender("A", calls), FakeContender("B", calls, last=4)]
        async with measure.run_contenders(fakes) as processes:
            measured = await measure.measure_workload(processes, W1, SETTINGS)
            again = await measure.measure_workload(
                processes, W1, MeasureSettings(LOAD, num_rounds=0)
            )
        assert measured["B"].rounds == []
        assert "status 500" in str(measured["B"].failure)
        assert len(measured["A"].rounds) == 2
        assert again["B"].failure is None

    async def test_a_round_that_takes_too_long_is_a_failure(self, tmp_path: Path) -> None:
        hasty = MeasureSettings(LOAD, num_rounds=1, round_timeout_s=1e-6)
        async with measure.run_contenders([FakeContender("A", tmp_path / "calls")]) as processes:
            measured = await measure.measure_workload(processes, W1, hasty)
        assert measured["A"].failure == "A: round 0 took more than 1e-06 s (--round_timeout)"

    async def test_a_sweep_measures_each_variant(self, tmp_path: Path) -> None:
        calls = tmp_path / "calls"
        variants = {"slow": FakeContender("A", calls), "broken": FakeContender("A", calls, last=1)}
        found = await measure.sweep(variants, W1, SETTINGS)
        assert list(found) == ["slow"]
        assert found["slow"] > 0


class TestCommandLine:
    def test_defaults(self) -> None:
        args = arguments.parse_args([])
        assert (args.rounds, args.requests, args.length_cap) == (5, 64, 512)
        assert args.contenders == list(arguments.CONTENDERS)
        assert len(args.workloads) == 10
        assert args.plugin_config == {}
        assert args.genai_max_num_batched_tokens == [256, 512, 1024, 2048]

    @pytest.mark.parametrize("flag", ["--rounds", "--requests", "--capacity"])
    def test_numbers_must_be_positive(self, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
        for value, message in (("0", "0 is not greater than 0"), ("x", "'x' is not a number")):
            with pytest.raises(SystemExit):
                arguments.parse_args([flag, value])
            assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--workloads", "W1,W9"], "there is no workload 'W9'; possible: W1, W2"),
            (["--contenders", "server,ovms"], "there is no contender 'ovms'; possible: server"),
            (["--peer_plugin_config", "{}"] * 2, "more --peer_plugin_config than --peer_model"),
        ],
    )
    def test_unknown_names(
        self, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            arguments.parse_args(flags)
        assert message in capsys.readouterr().err

    def test_machine(self) -> None:
        assert machine.describe_machine()["num_cpus"]
        assert 0 <= machine.StealMeter().read_share() <= 1


class TestRate:
    def test_a_share_of_the_capacity(self) -> None:
        (workload,) = find_workloads(["W2@0.75"])
        assert run.find_rate(W1, Results({}, SETTINGS)) is None
        assert run.find_rate(workload, Results({}, SETTINGS, capacity_per_s=2.0)) == 1.5

    def test_capacity_is_the_median_of_rounds(self) -> None:
        measured = Measured(None, [{"requests_per_s": rate} for rate in (1.0, 5.0, 2.0)])
        assert measure.find_capacity(measured) == 2.0

    def test_no_capacity(self) -> None:
        (workload,) = find_workloads(["W2@1.0"])
        with pytest.raises(contender.BenchmarkError, match="W2@1.0 needs the capacity"):
            run.find_rate(workload, Results({}, SETTINGS))


class TestMakeModel:
    def test_every_merge_is_of_known_parts_and_makes_a_new_string(self) -> None:
        pytest.importorskip("transformers")
        vocab, merges = make_model.make_vocab(30_000, seed=0)
        assert len(vocab) == 30_000 - len(make_model.SPECIAL_TOKENS)
        assert sorted(vocab.values()) == list(range(len(vocab)))
        assert all(
            vocab[left] < vocab[left + right] and vocab[right] < 256 for left, right in merges
        )


def _run_all(model: Path, folder: Path, *flags: str) -> dict[str, object]:
    """The command, on the tiny model with short rounds; what it has written."""
    command = [sys.executable, str(DEMO / "run.py"), "--model", str(model), "--rounds", "1"]
    command += ["--requests", "3", "--length_cap", "16", "--cache_size", "1", "--pause", "0.01"]
    done = subprocess.run(
        [*command, "--output", str(folder), *flags], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "results.md").read_text() == done.stdout
    written: dict[str, object] = json.loads((folder / "results.json").read_text())["workloads"]
    return written


def _has_no_failure(workloads: dict[str, object]) -> bool:
    return '"failure": "' not in json.dumps(workloads)


def test_real_rounds_of_the_server(tiny_model: Path, tmp_path: Path) -> None:
    workloads = _run_all(tiny_model, tmp_path, "--contenders", "server")
    assert len(workloads) == 10
    assert _has_no_failure(workloads)


def test_real_rounds_of_openvino_genai(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    flags = ["--contenders", "openvino-genai", "--workloads", "W1,W3"]
    workloads = _run_all(tiny_model, tmp_path, *flags, "--genai_max_num_batched_tokens", "64,256")
    assert list(workloads) == ["W1", "W3"]
    assert _has_no_failure(workloads)


def test_micro_times_only_steps_in_which_every_sequence_decodes(tiny_model: Path) -> None:
    engine = LLMEngine(EngineConfig(tiny_model, num_kv_blocks=64, max_num_batched_tokens=32))
    try:
        decode = micro.measure_decode(
            engine, num_sequences=4, context=40, num_steps=7, seed=0, sampling={"temperature": 1.0}
        )
        prefill = micro.measure_prefill(engine, num_tokens=48, seed=0)
        assert not engine.has_work
    finally:
        engine.close()
    assert (decode["num_steps"], decode["tokens"]) == (7, 28)
    assert prefill["tokens"] == 48 * micro.NUM_PROMPTS


def test_micro_names_the_share_of_the_bound_that_holds() -> None:
    parts = dict.fromkeys(("infer_s", "schedule_s", "pack_s", "sample_s"), 0.02)
    measured = {**parts, "step_s": 0.04, "num_steps": 1, "median_step_s": 0.04}
    row = micro.render_row("4", {**measured, "tokens_per_step": 4}, 0.01, 0.02)
    assert row.startswith("| 4 | 40.0 | 20.00 | ")
    assert row.endswith(" | 100 | 10.0 | 20.0 | 50 |")
    assert row.count("|") == len(micro.COLUMNS) + 1


class TestBounds:
    RATES = bounds.MachineRates(read_bytes_per_s=1e9, bf16_flops=1e12, int8_flops=2e12)

    def test_bounds_of_a_step(self) -> None:
        sizes = bounds.ModelSizes(10**7, num_layer_weights=10**9, num_head_weights=10**8)
        assert sizes.bound_by_reading_s(self.RATES) == pytest.approx(0.01)
        assert sizes.bound_by_products_s(self.RATES, 10, 1) == pytest.approx(0.0101)

    def test_sizes_of_the_tiny_model(self, tiny_model: Path) -> None:
        shape = make_model.SHAPES["tiny"]
        kv_size = shape.hidden_size // shape.num_heads * shape.num_kv_heads
        attention = shape.hidden_size * (2 * shape.hidden_size + 2 * kv_size)
        mlp = 3 * shape.hidden_size * shape.intermediate_size
        sizes = bounds.read_model_sizes(tiny_model)
        assert sizes.num_layer_weights == shape.num_layers * (attention + mlp)
        assert sizes.num_head_weights == shape.hidden_size * shape.vocab_size
        num_weights = sizes.num_layer_weights + sizes.num_head_weights
        # One byte each, and the scales.
        assert num_weights < sizes.weight_bytes < 1.2 * num_weights

    def test_rates_are_measured(self) -> None:
        assert bounds.measure_read_rate(num_bytes=2**20) > 0
        for is_int8 in (False, True):
            assert bounds.measure_gemm_rate(8, 64, is_int8=is_int8) > 0
