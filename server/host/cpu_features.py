"""What this CPU is and can do, read from /proc/cpuinfo (proc(5)).

OpenVINO does not tell: its list of capabilities has INT8 for any CPU, and never AMX or VNNI.
"""

from pathlib import Path

__all__ = ["has_int8_amx", "has_vnni", "model_name"]

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


def _first(cpu_info: Path, key: str) -> str:
    """What is said of the first processor; empty where the system does not tell."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith(key)), "")
