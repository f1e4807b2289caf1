"""The model folder of a pipeline, checked before openvino-genai opens it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from calculators.media.libraries import check_media_libraries
from server.errors import ModelLoadError
from server.host.openvino_core import default_device, find_device_problem
from server.host.openvino_errors import error_summary

__all__ = ["check_model_folder", "open_pipeline", "read_object"]

T = TypeVar("T")

CONFIG_FILE = "config.json"


def check_model_folder(
    folder: Path, device: str, files: Sequence[str], parts: Mapping[str, Sequence[str]]
) -> None:
    """Raise ModelLoadError if a library, a file or the device is missing.

    `files` must be there for all models, `parts` for those of a `model_type` of config.json. Each
    .xml needs the .bin of the same name.
    """
    check_media_libraries("av", "openvino_genai")
    if not folder.is_dir():
        raise ModelLoadError(f"{folder}: no such folder")
    needed = {CONFIG_FILE, *files}
    if (folder / CONFIG_FILE).is_file():
        needed |= {*parts.get(str(read_object(folder / CONFIG_FILE).get("model_type")), ())}
    needed |= {path.with_suffix(".bin").name for path in folder.glob("openvino_*.xml")}
    missing = sorted(name for name in needed if not (folder / name).is_file())
    if missing:
        found = ", ".join(sorted(path.name for path in folder.glob("*.xml"))) or "none"
        raise ModelLoadError(f"{folder}: {', '.join(missing)} missing; models there: {found}")
    if (problem := find_device_problem(device)) is not None:
        raise ModelLoadError(problem)


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file. Raises ModelLoadError."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelLoadError(f"{path}: it holds no JSON object")
    return found


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
