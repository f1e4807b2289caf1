"""A model file of any kind that OpenVINO reads -> a compiled model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calculators.inference.model_shapes import apply_layouts, reshape_batch, reshape_inputs
from calculators.inference.shape_options import Layout, Range, Shape
from server.errors import ModelLoadError
from server.host.model_files import MODEL_FILE, MODEL_SUFFIXES
from server.host.openvino_core import default_device, find_device_problem, shared_core
from server.host.openvino_errors import error_summary

__all__ = [
    "ModelSettings",
    "check_device",
    "check_model_file",
    "compile_model",
    "compile_model_file",
    "find_model_file",
    "read_model_file",
]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is prepared and compiled; device "" is the first GPU, else the CPU."""

    device: str = ""
    plugin_config: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, Shape | None] = field(default_factory=dict)
    batch_size: Range | None = None
    layouts: Mapping[str, Layout] = field(default_factory=dict)


def find_model_file(path: Path) -> Path:
    """The model in a folder, or the file itself. Raises ModelLoadError."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelLoadError(f"{path}: no such file or folder")
    if (path / MODEL_FILE).is_file():
        return path / MODEL_FILE
    for suffix in MODEL_SUFFIXES:
        files = sorted(path.glob(f"*{suffix}"))
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise ModelLoadError(f"{path}: several models: {names}; name one {MODEL_FILE}")
        if files:
            return files[0]
    raise ModelLoadError(
        f"{path}: no model in it; possible: one file *{', *'.join(MODEL_SUFFIXES)}"
    )


def check_device(device: str) -> None:
    """Raise ModelLoadError for a device that is not here."""
    if (problem := find_device_problem(device)) is not None:
        raise ModelLoadError(problem)


def check_model_file(file: Path, settings: ModelSettings) -> Any:
    """Do all of `compile_model_file` that needs no compilation, and return the model.

    Raises ModelLoadError.
    """
    check_device(settings.device)
    return read_model_file(file, settings, is_mapped=True)


def compile_model_file(file: Path, settings: ModelSettings) -> Any:
    """Read, reshape and compile a model. Raises ModelLoadError."""
    # Not mapped: if a mapped file changes while it is served, the process crashes.
    is_mapped = settings.plugin_config.get("ENABLE_MMAP", False)
    return compile_model(read_model_file(file, settings, is_mapped=is_mapped), file, settings)


def read_model_file(file: Path, settings: ModelSettings, *, is_mapped: Any) -> Any:
    """Read and reshape a model. Raises ModelLoadError."""
    try:
        model = shared_core().read_model(file, config={"ENABLE_MMAP": is_mapped})
        model = apply_layouts(model, settings.layouts)
        reshape_inputs(model, settings.shapes)
        if settings.batch_size is not None:
            reshape_batch(model, settings.batch_size)
    except (RuntimeError, ValueError) as error:
        raise ModelLoadError(f"{file}: {error_summary(error)}") from error
    return model


def compile_model(model: Any, file: Path, settings: ModelSettings) -> Any:
    """Compile a model that was read from a file. Raises ModelLoadError."""
    core = shared_core()
    device = settings.device or default_device()
    try:
        return core.compile_model(model, device, dict(settings.plugin_config))
    except RuntimeError as error:
        raise ModelLoadError(
            f"{file}: OpenVINO cannot compile it for device {device!r} with plugin_config "
            f"{dict(settings.plugin_config)}: {error_summary(error)}; "
            f"available devices: {', '.join(core.available_devices)}"
        ) from error
