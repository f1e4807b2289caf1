"""The folder of models: which of its folders hold one."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from server.errors import ConfigError
from server.models.config import DEFAULT_GRAPH_NAME

__all__ = ["list_models"]


def list_models(repository: Path) -> Sequence[str]:
    """The names, with slashes, of the folders that hold a model. Raises ConfigError."""
    if not repository.is_dir():
        raise ConfigError(f"--model_repository_path {repository}: no such folder")
    return sorted(_find_models(repository))


def _find_models(repository: Path) -> Iterator[str]:
    for folder, subfolders, files in os.walk(repository, followlinks=True):
        if _is_model(Path(folder), subfolders, files):
            yield Path(folder).relative_to(repository).as_posix()
            subfolders.clear()
        # A hidden folder is an export that has not finished.
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]


def _is_model(folder: Path, subfolders: Sequence[str], files: Sequence[str]) -> bool:
    if {DEFAULT_GRAPH_NAME, "model_index.json"} & {*files}:
        return True
    if any(name.endswith(".xml") for name in files):
        return True
    versions = [folder / name for name in subfolders if name.isascii() and name.isdigit()]
    return any(
        (version / DEFAULT_GRAPH_NAME).is_file() or any(version.glob("*.xml"))
        for version in versions
    )
