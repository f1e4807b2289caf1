"""demos/benchmark/latency_curve.py: what the default target is chosen for holds."""

import latency_curve
import pytest
from simulation.machine import MACHINES, Machine
from workloads import find_workloads


def ratios(machine: Machine, workload: str, target_s: float | None = None) -> dict[str, float]:
    (found,) = find_workloads([workload])
    _, ratios = latency_curve.measure(machine, found, target_s, 1)
    return dict(zip(latency_curve.COLUMNS, ratios, strict=True))


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_short_requests_neither_wait_for_a_long_prompt_nor_slow_down(machine: Machine) -> None:
    found = ratios(machine, "W5")
    assert found["TTFT p99"] < 0.15
    assert found["TPOT p50"] < 1.5
    assert found["long prompt"] < 1.6
    # Without a target, the long prompt fills every step.
    assert ratios(machine, "W5", 0.0)["TPOT p50"] > 2


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_no_prompt_of_many_at_once_waits_much_longer_than_in_line(machine: Machine) -> None:
    found = ratios(machine, "W1")
    assert found["TTFT p50"] < 0.4
    assert found["TTFT p99"] < 1.1
    assert found["output"] > 0.98


def test_a_single_stream_is_as_fast_as_its_steps() -> None:
    expected = dict.fromkeys(latency_curve.COLUMNS, 1.0)
    assert ratios(MACHINES[0], "W6") == pytest.approx(expected)


def test_a_table_has_a_row_for_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = find_workloads(["W7"])
    latency_curve.print_table(MACHINES[0], found, [0, 200], 1)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["by the machine", "0 ms", "200 ms"]
