"""The versions that decide how a server behaves, and the machine that it runs on."""

import os
import platform
from importlib import metadata

from server.host.cpu_features import model_name
from server.host.memory import available_bytes
from server.host.version import version

__all__ = ["describe_machine", "describe_versions"]


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
    processor = model_name() or platform.processor() or platform.machine()
    return f"{processor}, {cpus} CPUs, {memory}"
