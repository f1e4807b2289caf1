"""The values of --weight-format, and what each asks of optimum's command line."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["WEIGHT_FORMATS", "has_int8_amx", "resolve_weight_format", "weight_flags"]

WEIGHT_FORMATS = ("fp32", "fp16", "int8", "int8_sym", "int8_asym", "int4")
DEFAULT_FORMAT = "int8"
INT8_FLAGS = {
    "int8": ("--weight-format", "int8"),
    "int8_asym": ("--weight-format", "int8"),
    "int8_sym": ("--weight-format", "int8", "--sym"),
}
CPU_INFO = Path("/proc/cpuinfo")


def has_int8_amx(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this CPU multiplies int8 matrices in tiles.

    Read where Linux tells it: OpenVINO's list of capabilities has INT8 for any CPU, and no AMX.
    """
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.startswith("flags") and "amx_int8" in line.split() for line in lines)


def resolve_weight_format(
    weight_format: str | None, device: str, extra_params: Sequence[str]
) -> str:
    """`int8` as the form that is best on this machine, unless `extra_params` speak of the form."""
    weight_format = weight_format or DEFAULT_FORMAT
    if weight_format != "int8" or extra_params:
        return weight_format
    return "int8_sym" if device == "CPU" and has_int8_amx() else "int8_asym"


def weight_flags(weight_format: str) -> tuple[str, ...]:
    """The flags of optimum's command line for this format."""
    return INT8_FLAGS.get(weight_format, ("--weight-format", weight_format))
