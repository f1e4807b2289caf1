"""What a folder holds, and what it lacks to be served. Both loading and `--check` ask here."""

import os
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from server.errors import ModelLoadError
from server.graph import ValidatedGraph
from server.host.model_files import (
    DECODER_FILE,
    ENCODER_FILE,
    MODEL_FILE,
    MODEL_SUFFIXES,
    model_files,
)
from server.host.regular_files import find_unreadable, open_regular
from server.models.config import DEFAULT_GRAPH_NAME
from server.models.config_document import FILE_NAMES
from server.models.model_signs import ModelSigns
from server.models.tasks import IMAGE_GENERATION, TEXT_GENERATION, TEXT_TO_SPEECH, find_source_task
from server.models.watched_files import WatchedFiles

__all__ = [
    "LLM_FILES",
    "FolderKind",
    "check_model_folders",
    "find_folder_problem",
    "kind_of",
]

LLM_FILES = TEXT_GENERATION.files
SUFFIXES = f"*{', *'.join(MODEL_SUFFIXES)}"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
MAX_CONFIG_BYTES = 2**20


class FolderKind(Enum):
    """What a folder holds."""

    GRAPH = "a graph.pbtxt"
    MODEL = "a model that OpenVINO reads"
    CONFIGURATION = "a config.json that lists models"
    CHECKPOINT = "a Hugging Face model"
    UNKNOWN = "nothing to serve"


def kind_of(folder: Path) -> FolderKind:
    """Look at the names in the folder and at its config.json."""
    names = _names(folder)
    versions = [name for name in names if name.isascii() and name.isdigit()]
    if DEFAULT_GRAPH_NAME in names or (folder / "1" / DEFAULT_GRAPH_NAME).is_file():
        return FolderKind.GRAPH
    if _has_model(names) or IMAGE_GENERATION.is_model(ModelSigns(folder)):
        return FolderKind.MODEL
    if any(_has_model(_names(folder / version)) for version in versions):
        return FolderKind.MODEL
    text = _config_text(folder)
    if "model_config_list" in text or "mediapipe_config_list" in text:
        return FolderKind.CONFIGURATION
    return FolderKind.CHECKPOINT if _is_checkpoint(folder, names) else FolderKind.UNKNOWN


def find_folder_problem(folder: Path, files: Sequence[str] = ()) -> str | None:
    """Why no model can be loaded from the folder, and what helps; `files` must be in it.

    Each .xml of `files` needs the .bin of the same name.
    """
    if folder.is_file() and folder.suffix in MODEL_SUFFIXES:
        return None
    if not folder.is_dir():
        no_model = f"is a file, but no model ({SUFFIXES})"
        return f"{folder}: {no_model if folder.is_file() else 'no such folder'}"
    if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
        return f"{folder}: no permission to read it; let the server's user read the folder"
    return _content_problem(folder, files)


def _content_problem(folder: Path, files: Sequence[str]) -> str | None:
    if _is_checkpoint(folder, _names(folder)):
        return (
            f"{folder}: is a Hugging Face model, which must be exported first: "
            f"export_model {find_source_task(folder).export} --source_model {folder}"
        )
    for name in (part for file in files for part in _parts(folder, file)):
        for path in (folder / name, (folder / name).with_suffix(".bin")):
            if not path.is_file():
                return f"{path}: no such file; {_remedy(folder, name)}"
    if not files and kind_of(folder) in (FolderKind.UNKNOWN, FolderKind.CONFIGURATION):
        found = f"{folder}: there is no model in it"
        return f"{found}; a model folder holds graph.pbtxt or one of {SUFFIXES}"
    return None


def _parts(folder: Path, name: str) -> Sequence[str]:
    """The files that a file stands for: a model may consist of an encoder and a decoder."""
    return model_files(folder) if name == MODEL_FILE else (name,)


def check_model_folders(graph: ValidatedGraph, base_path: Path, files: WatchedFiles) -> None:
    """Raise ModelLoadError if a node's `models_path` lacks what the node will read.

    A folder with a problem is added to `files`: when it changes, the model is loaded again.
    """
    problems: dict[str, None] = {}
    for node in graph.nodes:
        path = getattr(node.options, "models_path", None)
        if not isinstance(path, str) or not path or node.contract is None:
            continue
        folder = base_path / path
        problem = find_unreadable(folder)
        problem = problem or find_folder_problem(folder, node.contract.model_files)
        if problem is not None:
            where = "" if folder.exists() else f"models_path {path!r}: "
            problems[f"{where}{problem}"] = None
            files.add(folder)
    if problems:
        raise ModelLoadError("; ".join(problems))


def _remedy(folder: Path, name: str) -> str:
    if name in (MODEL_FILE, ENCODER_FILE, DECODER_FILE):
        task = find_source_task(folder)
        return (
            "export the Hugging Face model again: "
            f"export_model {task.export} --source_model <id or folder>"
        )
    return (
        "make it of the Hugging Face model: "
        f"convert_tokenizer <id or folder> --with-detokenizer -o {folder}"
    )


def _names(folder: Path) -> Sequence[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return ()


def _has_model(names: Sequence[str]) -> bool:
    return any(name.endswith(MODEL_SUFFIXES) for name in names)


def _config_text(folder: Path) -> str:
    return next(_config_texts(folder), "")


def _config_texts(folder: Path) -> Iterator[str]:
    for name in FILE_NAMES:
        try:
            with open_regular(folder / name) as file:
                yield file.read(MAX_CONFIG_BYTES).decode(errors="replace")
        except OSError:
            continue


def _is_checkpoint(folder: Path, names: Sequence[str]) -> bool:
    """Whether the folder holds a Hugging Face model, and no OpenVINO model made of it."""
    signs = ModelSigns(folder)
    if _has_model(names) or IMAGE_GENERATION.is_model(signs):
        return False
    if IMAGE_GENERATION.is_source(signs):
        return True
    has_weights = any(name.endswith(WEIGHT_SUFFIXES) for name in names)
    return has_weights and (signs.has_model_type() or TEXT_TO_SPEECH.is_source(signs))
