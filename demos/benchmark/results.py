"""The file of results: every figure of every round, the machine and the settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contender_process import ContenderProcess
from figures import compute_ratios, summarize
from measure import Measured, MeasureSettings
from report import OURS
from server_contender import StepStats
from workloads import Workload


@dataclass
class Results:
    """What is known so far; written after every workload, so that an interrupted run leaves it."""

    machine: Mapping[str, object]
    settings: MeasureSettings
    sweeps: dict[str, Mapping[str, float]] = field(default_factory=dict)
    capacity_per_s: float | None = None
    contenders: dict[str, dict[str, object]] = field(default_factory=dict)
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    step_stats: StepStats | None = None

    def add_contenders(self, processes: Sequence[ContenderProcess]) -> None:
        """Note the contenders, their start-up times and their memory so far."""
        self.contenders = {
            process.name: {
                "settings": process.contender.describe(),
                "ready_s": process.ready_s,
                "peak_rss_mb": process.peak_rss_mb,
            }
            for process in processes
        }

    def add_workload(
        self, workload: Workload, request_rate: float | None, measured: Mapping[str, Measured]
    ) -> None:
        """Note the rounds of a workload, their medians, and this server's ratio to the others."""
        of_contenders = {
            name: {**asdict(one), "summary": summarize(one.rounds) if one.rounds else {}}
            for name, one in measured.items()
        }
        ours = measured.get(OURS)
        ratios = {
            name: compute_ratios(ours.rounds, one.rounds)
            for name, one in measured.items()
            if ours and ours.rounds and one.rounds and name != OURS
        }
        self.workloads[workload.name] = {
            "title": workload.title,
            "headline": workload.headline,
            "request_rate": request_rate,
            "contenders": of_contenders,
            "ratios": ratios,
        }

    def as_dict(self) -> dict[str, Any]:
        """What the JSON file holds, with simple types only."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain

    def write(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_dict(), indent=2) + "\n")
