"""The versions that decide how a server behaves, and the machine that it runs on."""

import os
import platform
from importlib import metadata
from pathlib import Path

from server.version import version

__all__ = ["describe_machine", "describe_versions"]


def describe_versions(name: str) -> str:
    """One line with the versions of the server, OpenVINO and Python."""
    try:
        openvino = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        openvino = "not installed"
    return f"{name} {version()}, OpenVINO {openvino}, Python {platform.python_version()}"


def describe_machine() -> str:
    """The processor and the memory."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cpus} CPUs, {_memory()}"


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _memory() -> str:
    sizes = dict(line.split(":", 1) for line in _lines("/proc/meminfo") if ":" in line)
    try:
        total, free = (int(sizes[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError):
        return "memory unknown"
    return f"{free / 2**20:.1f} of {total / 2**20:.1f} GB memory free"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
