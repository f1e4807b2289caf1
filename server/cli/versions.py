"""The versions that decide how a server behaves, and the machine that it runs on."""

import os
import platform
from importlib import metadata
from pathlib import Path

from server.host.memory import available_bytes
from server.host.version import version

__all__ = ["describe_machine", "describe_versions"]

CPUINFO = Path("/proc/cpuinfo")


def describe_versions(name: str) -> str:
    """One line with the versions of the server, OpenVINO and Python."""
    try:
        openvino = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        openvino = "not installed"
    return f"{name} {version()}, OpenVINO {openvino}, Python {platform.python_version()}"


def describe_machine() -> str:
    """The processor and the free memory, within the limits of a container."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = f"{available_bytes() / 2**30:.1f} GB memory free"
    except OSError:
        memory = "free memory unknown"
    return f"{_processor()}, {cpus} CPUs, {memory}"


def _processor() -> str:
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(names, "").split()) or platform.processor() or platform.machine()
