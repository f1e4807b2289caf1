"""The one OpenVINO core of the process, which every model here is read and compiled with."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

__all__ = ["default_device", "shared_core"]


@cache
def shared_core() -> "ov.Core":
    """The core, with the operations of tokenizers; it lives as long as the process.

    With a core for each model, a thread that inferred and ended while another model was compiled
    or freed crashed the process (OpenVINO 2026.4: 2 of 3 runs of 150 rounds; none with one core).
    A core also owns the libraries of its operations: tokenizers must not outlive it.
    Properties go to `read_model` and `compile_model`; set on the core they would meet all models.
    """
    import openvino as ov
    import openvino_tokenizers  # noqa: F401  # registers its operations with every new Core

    return ov.Core()


def default_device() -> str:
    """The first GPU if there is one, else the CPU."""
    has_gpu = any(name.startswith("GPU") for name in shared_core().available_devices)
    return "GPU" if has_gpu else "CPU"
