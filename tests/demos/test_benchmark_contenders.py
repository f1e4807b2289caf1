"""The contenders of the benchmark: their processes, their commands, and who takes part."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import arguments
import contender
import contender_process
import genai_contender
import line_up
import llama_contender
import pytest
import run
import server_contender
import vllm_contender
from results import Results
from support.fake_contender import SETTINGS, BrokenContender, FakeContender


class TestContenderProcess:
    async def test_start_memory_and_end(self, tmp_path: Path) -> None:
        process = contender_process.ContenderProcess(FakeContender("A", tmp_path / "calls"))
        await process.start()
        assert process.ready_s > 0
        await process.stop()
        assert process.peak_rss_mb > 5
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(contender_process.HOST, process.port)

    async def test_one_that_cannot_start_is_reported_with_its_log(self, tmp_path: Path) -> None:
        process = contender_process.ContenderProcess(BrokenContender("A", tmp_path / "calls"))
        try:
            with pytest.raises(contender.BenchmarkError, match=r"exit code 1(.|\n)*no room here"):
                await process.start()
        finally:
            await process.stop()

    def test_memory_is_of_the_children_too(self) -> None:
        script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
        child = "x = b'1' * 100_000_000; print(flush=True); input()"
        parent = subprocess.Popen(
            [sys.executable, "-c", script, child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with parent:
            assert parent.stdout
            parent.stdout.readline()
            assert contender_process.read_rss_mb(parent.pid, "VmHWM") > 100


class TestLaunches:
    def test_the_graph_serves_the_model_where_it_is(self, tmp_path: Path) -> None:
        ours = server_contender.ServerContender(
            Path("/models/it's"), {"NUM_STREAMS": 1}, 128, 32, 3, ["--log_level", "DEBUG"]
        )
        launch = ours.prepare_launch(9000, tmp_path)
        assert launch.command[-2:] == ["--log_level", "DEBUG"]
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["mediapipe_config_list"] == [
            {"name": "benchmark", "base_path": str(tmp_path)}
        ]
        graph = (tmp_path / "graph.pbtxt").read_text()
        assert graph.count('models_path: "/models/it\'s"') == 2
        assert """plugin_config: '{"NUM_STREAMS": 1}'""" in graph
        assert "max_num_batched_tokens: 128" in graph
        assert "max_num_seqs: 32" in graph
        assert "cache_size: 3" in graph

    def test_the_budget_is_the_servers_own_unless_it_is_given(self, tmp_path: Path) -> None:
        server_contender.ServerContender(tmp_path).prepare_launch(9000, tmp_path)
        assert "max_num_batched_tokens" not in (tmp_path / "graph.pbtxt").read_text()

    def test_vllm(self, tmp_path: Path) -> None:
        peer = vllm_contender.VllmContender(Path("py"), Path("m"), 512, 3, ["--more"])
        launch = peer.prepare_launch(9000, tmp_path)
        command = " ".join(launch.command)
        assert "serve m --served-model-name benchmark --dtype bfloat16" in command
        assert command.endswith("--max-num-batched-tokens 512 --more")
        assert launch.environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
        last_cpu = (os.cpu_count() or 1) - 1
        assert launch.environment["VLLM_CPU_OMP_THREADS_BIND"] == f"0-{last_cpu}"

    def test_llama(self, tmp_path: Path) -> None:
        peer = llama_contender.LlamaContender(Path("bin"), Path("m.gguf"), 8, 1000, ["--more"])
        command = " ".join(peer.prepare_launch(9000, tmp_path).command)
        assert command.startswith("bin --model m.gguf --host 127.0.0.1 --port 9000")
        assert command.endswith("--parallel 8 --kv-unified --ctx-size 1000 --more")

    def test_what_is_missing_is_said(self, tmp_path: Path) -> None:
        vllm = vllm_contender.VllmContender(None, tmp_path)
        assert "--vllm_python" in str(vllm.find_missing())
        vllm = vllm_contender.VllmContender(Path(sys.executable), tmp_path)
        assert "make_model.py" in str(vllm.find_missing())
        llama = llama_contender.LlamaContender(None, tmp_path)
        assert "--llama_server" in str(llama.find_missing())
        llama = llama_contender.LlamaContender(Path(sys.executable), tmp_path / "m.gguf")
        assert "make_gguf.py" in str(llama.find_missing())


def _find_entrants(*flags: str) -> list[line_up.Entrant]:
    return line_up.find_entrants(arguments.parse_args(["--model", "m", *flags]))


class TestLineUp:
    def test_what_is_not_installed_is_left_out_with_a_line(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        entrants = _find_entrants("--contenders", "server,vllm,llama.cpp")
        assert [entrant.name for entrant in entrants] == ["server"]
        said = capsys.readouterr().err
        assert "vllm is left out: give --vllm_python" in said
        assert "llama.cpp is left out: give --llama_server" in said

    def test_nobody_left(self) -> None:
        with pytest.raises(contender.BenchmarkError, match="no contender is left"):
            _find_entrants("--contenders", "vllm")

    def test_several_peer_models_with_their_own_properties(self) -> None:
        pytest.importorskip("openvino_genai")
        one, other = _find_entrants(
            *("--contenders", "openvino-genai", "--genai_max_num_batched_tokens", "256,512"),
            *("--peer_model", "m", "--peer_plugin_config", '{"NUM_STREAMS": 1}'),
            *("--peer_model", "x/other", "--plugin_config", '{"NUM_STREAMS": 2}'),
        )
        assert (one.name, other.name) == ("openvino-genai", "openvino-genai (other)")
        for entrant, num_streams in ((one, 1), (other, 2)):
            assert list(entrant.variants) == ["256 batched tokens", "512 batched tokens"]
            variant = entrant.variants["512 batched tokens"]
            assert isinstance(variant, genai_contender.GenaiContender)
            assert variant.max_num_batched_tokens == 512
            assert variant.plugin_config == {"NUM_STREAMS": num_streams}
            assert variant.name == entrant.name

    def test_openvino_genai_is_tuned_where_the_server_tunes_itself(self) -> None:
        pytest.importorskip("openvino_genai")
        flags = ("--contenders", "openvino-genai", "--genai_max_num_batched_tokens", "256,512")
        (tuned,) = _find_entrants(*flags)
        precisions = [v.plugin_config["KV_CACHE_PRECISION"] for v in tuned.variants.values()]
        assert precisions == ["u8", "u8", "bf16", "bf16"]
        (alike,) = _find_entrants(*flags, "--plugin_config", '{"NUM_STREAMS": 2}')
        assert [v.plugin_config for v in alike.variants.values()] == [{"NUM_STREAMS": 2}] * 2

    def test_several_properties_for_one_model_are_variants(self) -> None:
        pytest.importorskip("openvino_genai")
        (entrant,) = _find_entrants(
            *("--contenders", "openvino-genai", "--genai_max_num_batched_tokens", "256"),
            *("--peer_model", "m", "--peer_plugin_config", '{"NUM_STREAMS": 1}'),
            *("--peer_model", "m", "--peer_plugin_config", '{"NUM_STREAMS": 2}'),
        )
        assert list(entrant.variants) == [
            '256 batched tokens, {"NUM_STREAMS": 1}',
            '256 batched tokens, {"NUM_STREAMS": 2}',
        ]

    async def test_the_best_variant_takes_part(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def sweep(*_: object) -> dict[str, float]:
            return {"slow": 1.0, "fast": 2.0}

        monkeypatch.setattr(run, "sweep", sweep)
        variants = {name: FakeContender(name, tmp_path) for name in ("slow", "fast")}
        only = FakeContender("only", tmp_path)
        entrants = [line_up.Entrant("A", variants), line_up.Entrant("B", {"as given": only})]
        results = Results({}, SETTINGS)
        chosen = await run.choose_variants(entrants, SETTINGS, results)
        assert chosen == [variants["fast"], only]
        assert results.sweeps == {"A": {"slow": 1.0, "fast": 2.0}}
