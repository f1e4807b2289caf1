"""The one OpenVINO core of the process, which every model here is read and compiled with."""

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino as ov

__all__ = ["default_device", "find_device_problem", "shared_core", "tokenizer_operations"]

# Names that stand for other devices.
VIRTUAL_DEVICES = ("AUTO", "BATCH", "HETERO", "MULTI")


@cache
def shared_core() -> "ov.Core":
    """The core, with the operations of tokenizers; it lives as long as the process.

    With a core for each model, a thread that inferred and ended while another model was compiled
    or freed crashed the process (OpenVINO 2026.4: 2 of 3 runs of 150 rounds; none with one core).
    A core also owns the libraries of its operations, whose code a compiled tokenizer runs when it
    is destroyed. Python frees objects in any order at its end, so the core is never freed.
    Properties go to `read_model` and `compile_model`; set on the core they would meet all models.
    """
    import openvino as ov
    import openvino_tokenizers  # noqa: F401  # registers its operations with every new Core

    core = ov.Core()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(core))
    return core


def tokenizer_operations() -> Any:
    """What makes operations of openvino-tokenizers, for models that are changed before use."""
    from openvino_tokenizers import _get_factory

    return _get_factory()


def default_device() -> str:
    """The first GPU if there is one, else the CPU."""
    has_gpu = any(name.startswith("GPU") for name in shared_core().available_devices)
    return "GPU" if has_gpu else "CPU"


def find_device_problem(name: str) -> str | None:
    """Why nothing can be compiled for a device, such as GPU.1 or AUTO:GPU,CPU; "" is any."""
    available = shared_core().available_devices
    kinds = {device.partition(".")[0] for device in available}
    for part in name.rpartition(":")[2].split(","):
        kind = part.strip().lstrip("-").partition("(")[0].partition(".")[0]
        if kind and kind not in kinds and kind not in VIRTUAL_DEVICES:
            found = ", ".join(available)
            return f"device {name!r}: there is no {kind} here; available devices: {found}"
    return None
