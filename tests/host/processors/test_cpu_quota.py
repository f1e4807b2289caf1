import os
from pathlib import Path

import pytest

from server.host.machine_share import MACHINE_SHARE
from server.host.processors.cpu_quota import num_allowed_cpus

NUM_CPUS = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100000 100000", 1),
        ("20000 100000", 1),
        ("max 100000", NUM_CPUS),
        ("900000000 100000", NUM_CPUS),
        ("", NUM_CPUS),
        ("0 0", NUM_CPUS),
        ("many CPUs", NUM_CPUS),
    ],
)
def test_cgroup_2(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert num_allowed_cpus(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("150000", min(2, NUM_CPUS)), ("-1", NUM_CPUS)])
def test_cgroup_1(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert num_allowed_cpus(tmp_path) == expected


def test_no_container(tmp_path: Path) -> None:
    assert num_allowed_cpus(tmp_path) == NUM_CPUS


def test_processes_that_divide_the_machine_divide_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000")
    monkeypatch.setattr(MACHINE_SHARE, "num_processes", 2)
    assert num_allowed_cpus(tmp_path) == 1
