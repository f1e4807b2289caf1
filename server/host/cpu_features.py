"""What this CPU is and can do, read from /proc/cpuinfo (proc(5)).

OpenVINO does not tell: its list of capabilities has INT8 for any CPU, and never AMX or VNNI.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["describe_cpu", "has_int8_amx", "has_vnni", "model_name"]

CPU_INFO = Path("/proc/cpuinfo")


def has_int8_amx(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this CPU multiplies int8 matrices in tiles."""
    return "amx_int8" in _first(cpu_info, "flags").split()


def has_vnni(cpu_info: Path = CPU_INFO) -> bool:
    """Whether int8 products are exact: without VNNI their sums saturate at 16 bits.

    (oneDNN, Nuances of int8 Computations)
    """
    flags = _first(cpu_info, "flags").split()
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(flags)


def model_name(cpu_info: Path = CPU_INFO) -> str:
    """The name of this CPU; empty where the system does not tell."""
    return " ".join(_first(cpu_info, "model name").split())


@cache
def describe_cpu(cpu_info: Path = CPU_INFO) -> dict[str, Any]:
    """The name, the cores that this process may use, and what models compute faster with."""
    flags = set(_first(cpu_info, "flags").split())
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "model": model_name(cpu_info),
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "amx": "amx_tile" in flags,
        "avx512": "avx512f" in flags,
        "bf16": not flags.isdisjoint({"avx512_bf16", "amx_bf16"}),
        "vnni": has_vnni(cpu_info),
    }


def _first(cpu_info: Path, key: str) -> str:
    """What is said of the first processor; empty where the system does not tell."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith(key)), "")
