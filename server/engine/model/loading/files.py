"""The files of a model: whether they are there, and how they are read."""

import logging
from pathlib import Path

import openvino as ov

from server.engine.config import PluginValue
from server.engine.system.file_lease import FileLease
from server.errors import ModelLoadError
from server.host.model_files import model_files, text_model_file
from server.host.openvino_core import shared_core
from server.host.openvino_errors import error_summary

__all__ = ["check_files", "lease_weights", "read_graph"]

logger = logging.getLogger(__name__)


def check_files(models_path: Path) -> None:
    """Raise ModelLoadError where a file of the model is missing."""
    names = model_files(models_path)
    for path in (models_path / name for xml in names for name in (xml, f"{Path(xml).stem}.bin")):
        if not path.is_file():
            raise ModelLoadError(
                f"{path} not found; a model folder holds {' and '.join(names)}, each "
                "with its .bin, as export_model writes them"
            )


def lease_weights(models_path: Path) -> FileLease | None:
    """A lease, which makes it safe to map the weights; None where no lease is possible."""
    path = text_model_file(models_path).with_suffix(".bin")
    try:
        return FileLease(path)
    except OSError as error:
        logger.debug("%s is read into memory, not mapped: no lease on it (%s)", path, error)
        return None


def read_graph(xml: Path, is_mapped: PluginValue) -> ov.Model:
    """The model in an .xml file. Raises ModelLoadError."""
    try:
        return shared_core().read_model(xml, config={"ENABLE_MMAP": is_mapped})
    except RuntimeError as error:
        raise ModelLoadError(f"{xml}: OpenVINO cannot read it: {error_summary(error)}") from error
