"""The values of --weight-format, and optimum's flags for each."""

from collections.abc import Sequence

from server.host.cpu_features import has_int8_amx

__all__ = ["WEIGHT_FORMATS", "resolve_weight_format", "weight_flags"]

WEIGHT_FORMATS = ("fp32", "fp16", "int8", "int8_sym", "int8_asym", "int4", "int4_sym", "int4_asym")
DEFAULT_FORMAT = "int8"
# Groups of 128 weights share a scale; groups are smaller if 128 does not divide a matrix.
GROUPS = ("--ratio", "1.0", "--group-size", "128", "--group-size-fallback", "adjust")
FLAGS = {
    # half_precision.py rounds it afterwards.
    "fp16": ("--weight-format", "fp32"),
    "int8_asym": ("--weight-format", "int8"),
    "int8_sym": ("--weight-format", "int8", "--sym"),
    "int4_asym": ("--weight-format", "int4", *GROUPS),
    "int4_sym": ("--weight-format", "int4", *GROUPS, "--sym"),
}


def resolve_weight_format(
    weight_format: str | None, device: str, extra_params: Sequence[str]
) -> str:
    """Replace `int8` and `int4` by the fastest form on this machine.

    They stay if there are `extra_params`, which may choose the form.
    """
    weight_format = weight_format or DEFAULT_FORMAT
    if extra_params or weight_format not in {"int8", "int4"}:
        return weight_format
    if weight_format == "int4":
        # Weights without zero points decode a little faster, at about the same quality.
        return "int4_sym" if device == "CPU" else "int4_asym"
    return "int8_sym" if device == "CPU" and has_int8_amx() else "int8_asym"


def weight_flags(weight_format: str, *, is_text: bool = True) -> tuple[str, ...]:
    """The flags of optimum's command line for this format.

    Models of sound and images have no rotary positions that fp16 must not round.
    """
    if weight_format == "fp16" and not is_text:
        return ("--weight-format", "fp16")
    return FLAGS.get(weight_format, ("--weight-format", weight_format))
