"""Figures, tables and plots of the benchmark demo."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import report
from figures import FIGURES, Limits, compute_figures, compute_ratios, summarize
from load_generator import RequestTiming
from measure import Measured, MeasureSettings
from results import Results
from server_contender import StepStats, parse_step_stats
from workloads import LoadSettings, find_workloads

LOG = (
    'INFO server.engine: engine stats: {"num_steps": 1, "step_s": 9, "infer_s": 9, '
    '"schedule_s": 0, "sample_s": 0, "tokens": 1}\n'
    'INFO server.engine: engine stats: {"num_steps": 100, "step_s": 2.0, "infer_s": 1.9, '
    '"schedule_s": 0.02, "sample_s": 0.03, "tokens": 1600, "preemptions": 0}\n'
)


class TestFigures:
    TIMINGS = (
        RequestTiming(0.0, (0.5, 1.0, 1.5), 3),
        RequestTiming(1.0, (2.0,), 1),
        RequestTiming(0.0, (4.0,), 12, is_background=True),
    )

    def test_background_counts_for_throughput_and_not_for_latency(self) -> None:
        assert compute_figures(self.TIMINGS, Limits()) == {
            "output_tokens_per_s": pytest.approx(4.0),
            "requests_per_s": pytest.approx(0.75),
            "goodput_per_s": pytest.approx(0.25),
            "goodput_share": pytest.approx(0.5),
            "ttft_p50_ms": pytest.approx(750),
            "ttft_p99_ms": pytest.approx(995),
            "tpot_p50_ms": pytest.approx(250),
            "tpot_p99_ms": pytest.approx(495),
            "itl_p99_ms": pytest.approx(500),
        }

    @pytest.mark.parametrize(
        ("ttft_ms", "tpot_ms", "share"),
        [(1000, 500, 1.0), (999, 500, 0.5), (1000, 499, 0.5), (400, 1, 0.0)],
    )
    def test_good_is_what_keeps_both_limits(
        self, ttft_ms: float, tpot_ms: float, share: float
    ) -> None:
        figures = compute_figures(self.TIMINGS, Limits(ttft_ms, tpot_ms))
        assert figures["goodput_share"] == share

    def test_ratio_is_taken_round_by_round(self) -> None:
        ratios = compute_ratios(
            [{"speed": 10.0}, {"speed": 30.0}, {"speed": 20.0}],
            [{"speed": 10.0}, {"speed": 10.0}, {"speed": 10.0}],
        )
        assert ratios == {"speed": {"median": 2.0, "min": 1.0, "max": 3.0}}

    def test_there_is_no_ratio_to_nothing(self) -> None:
        assert compute_ratios([{"speed": 1.0}], [{"speed": 0.0}]) == summarize([{}])


def make_results() -> dict[str, Any]:
    """A server that is twice as fast as a peer in W1, and a second peer that fails."""
    low = dict.fromkeys((figure.name for figure in FIGURES), 10.0)
    high = dict.fromkeys(low, 20.0)
    results = Results({}, MeasureSettings(LoadSettings(vocab_size=100)))
    results.contenders = {
        name: {"ready_s": 1.26, "peak_rss_mb": 100.2} for name in ("server", "peer", "broken")
    }
    results.sweeps["peer"] = {"256": 7.0, "512": 8.0}
    measured = {
        "server": Measured(low, [high, high, low]),
        "peer": Measured(low, [low, low, low]),
        "broken": Measured(),
    }
    measured["broken"].fail("out of memory\nand a long log")
    for workload in find_workloads(["W1", "W2@0.5", "W2@1.0", "W4@4k"]):
        results.add_workload(workload, workload.load_share, measured)
    results.step_stats = parse_step_stats(LOG)
    return results.as_dict()


class TestReport:
    def test_start_and_memory(self) -> None:
        assert "| peer | 1.3 | 100 |" in report.render_report(make_results())

    def test_summary_names_what_the_server_loses(self) -> None:
        lines = report.render_report(make_results()).splitlines()
        assert (
            "| W1: ShareGPT-like, all at once | output tok/s | 20.0 | 10.0 | - "
            "| 2.00 (1.00 - 2.00) | - |"
        ) in lines
        assert (
            "| W4@4k: one prompt of 4,096 tokens | TTFT p50, ms | 20 | 10 | - "
            "| 2.00 (1.00 - 2.00) worse | - |"
        ) in lines

    def test_every_figure_with_extremes_and_the_first_round(self) -> None:
        lines = report.render_report(make_results()).splitlines()
        assert (
            "| output tok/s | 20.0 (10.0 - 20.0) | 10.0 (10.0 - 10.0) | - | 2.00 (1.00 - 2.00) |"
        ) in lines
        assert "| first round: TTFT p99, ms | 10 | 10 | - |  |" in lines
        assert "broken failed: out of memory" in lines
        assert any(line.endswith("at 0.5 of capacity (0.50 requests/s)") for line in lines)

    def test_sweep(self) -> None:
        assert "| peer, W1 | 256 | 512 |" in report.render_report(make_results())

    def test_one_contender_has_no_ratio(self) -> None:
        results = Results({}, MeasureSettings(LoadSettings(vocab_size=100)))
        results.contenders = {"peer": {"ready_s": 1.0, "peak_rss_mb": 1.0}}
        only = dict.fromkeys((figure.name for figure in FIGURES), 1.0)
        results.add_workload(find_workloads(["W1"])[0], None, {"peer": Measured(only, [only])})
        assert "server" not in report.render_report(results.as_dict())

    def test_the_file_is_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "results.json"
        path.write_text(json.dumps(make_results()))
        monkeypatch.setattr(sys, "argv", ["report.py", str(path)])
        report.main()
        assert capsys.readouterr().out == report.render_report(make_results())


class TestStepStats:
    def test_the_last_engine_stats_count(self) -> None:
        assert parse_step_stats(LOG) == StepStats(100, 2.0, 1.9, 0.02, 0.03, 1600)
        assert "16.0 tokens on average; not inference: 5.0% of step time, 1.00 ms" in (
            report.render_report(make_results())
        )

    def test_a_log_without_stats(self) -> None:
        assert parse_step_stats("INFO ready\n") is None


def test_plots_of_every_workload_and_of_goodput(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from plots import write_plots

    paths = write_plots(make_results(), tmp_path)
    names = ["W1.png", "W2@0.5.png", "W2@1.0.png", "W4@4k.png", "W2.png"]
    assert [path.name for path in paths] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
