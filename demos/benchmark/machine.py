"""The machine of a measurement, and the CPU time that other machines took from it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("openvino", "openvino-genai", "openvino-tokenizers", "aiohttp")
# The order of the first fields of /proc/stat's cpu line: see proc(5).
STEAL_FIELD = 7
NUM_FIELDS = 8


def describe_machine() -> dict[str, object]:
    """Return the processor, the load at this moment and the versions that matter."""
    return {
        "cpu": _read_cpu_name(),
        "num_cpus": os.cpu_count(),
        "load_average_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        **{package: _find_version(package) for package in PACKAGES},
    }


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read_cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


class StealMeter:
    """The share of processor time that the hypervisor gave to other machines since it was made."""

    def __init__(self) -> None:
        self._start = _read_cpu_ticks()

    def read_share(self) -> float:
        """Return the share from 0 to 1."""
        ticks = [now - then for now, then in zip(_read_cpu_ticks(), self._start, strict=True)]
        return ticks[STEAL_FIELD] / max(1, sum(ticks))


def _read_cpu_ticks() -> list[int]:
    line = Path("/proc/stat").read_text().splitlines()[0]
    return [int(field) for field in line.split()[1 : 1 + NUM_FIELDS]]
