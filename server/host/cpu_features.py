"""What this CPU can do, read from the flags in /proc/cpuinfo (proc(5)).

OpenVINO does not tell: its list of capabilities has INT8 for any CPU, and never AMX or VNNI.
"""

from pathlib import Path

__all__ = ["has_int8_amx", "has_vnni"]

CPU_INFO = Path("/proc/cpuinfo")


def has_int8_amx(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this CPU multiplies int8 matrices in tiles."""
    return "amx_int8" in _flags(cpu_info)


def has_vnni(cpu_info: Path = CPU_INFO) -> bool:
    """Whether int8 products are exact: without VNNI their sums saturate at 16 bits.

    (oneDNN, Nuances of int8 Computations)
    """
    return not _flags(cpu_info).isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8"})


def _flags(cpu_info: Path) -> set[str]:
    """The flags of the first processor; none where the system does not tell."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.split() for line in lines if line.startswith("flags")), ()))
