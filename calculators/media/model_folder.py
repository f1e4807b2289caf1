"""The model folder of a pipeline, checked before openvino-genai opens it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from calculators.media.libraries import check_media_libraries
from server.errors import ModelLoadError
from server.host.openvino_core import default_device, find_device_problem
from server.host.openvino_errors import error_summary

__all__ = ["check_model_folder", "open_pipeline"]

T = TypeVar("T")


def check_model_folder(folder: Path, files: tuple[str, ...], device: str) -> None:
    """Raise ModelLoadError if a library, one of the files or the device is missing."""
    check_media_libraries("av", "openvino_genai")
    if not folder.is_dir():
        raise ModelLoadError(f"{folder}: no such folder")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        found = ", ".join(sorted(path.name for path in folder.glob("*.xml"))) or "none"
        raise ModelLoadError(f"{folder}: {', '.join(missing)} missing; models there: {found}")
    if (problem := find_device_problem(device)) is not None:
        raise ModelLoadError(problem)


def open_pipeline(
    make: Callable[..., T], folder: Path, device: str, properties: Mapping[str, Any]
) -> T:
    """Make a pipeline; device "" is the first GPU, else the CPU. Raises ModelLoadError."""
    device = device or default_device()
    try:
        return make(folder, device, **properties)
    except (RuntimeError, ValueError) as error:
        raise ModelLoadError(
            f"{folder}: openvino-genai cannot load it for device {device!r} with "
            f"{dict(properties)}: {error_summary(error)}"
        ) from error
