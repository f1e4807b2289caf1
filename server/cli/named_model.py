"""What MODEL on the command line stands for: a folder, a file, a bundled model, or an id."""

import re
from dataclasses import replace
from pathlib import Path

from server.cli.model_arguments import ModelArguments
from server.errors import ConfigError
from server.models.bundled import find_bundled_model
from server.models.model_folder import FolderKind, find_folder_problem, kind_of

__all__ = ["find_named_model", "to_path"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
CONFIGURATION_SUFFIXES = (".json", ".yaml", ".yml")
# export_model has the same default.
DEFAULT_REPOSITORY = Path("models")


def find_named_model(
    text: str, models: ModelArguments, *, can_export: bool
) -> tuple[ModelArguments, tuple[str, ...]]:
    """The arguments that MODEL is short for, and what to tell the user. Raises ConfigError."""
    for flag in ("config_path", "model_path", "source_model"):
        if getattr(models, flag) is not None:
            raise ConfigError(f"MODEL ({text}) cannot be used together with --{flag}")
    path = to_path(text)
    repository = models.repository or DEFAULT_REPOSITORY
    if not path.exists():
        known = repository / text
        path = known if known.is_dir() else find_bundled_model(text) or path
    if path.is_dir() and kind_of(path) is not FolderKind.CONFIGURATION:
        return _of_folder(path, repository, models, can_export)
    if path.is_dir() or path.suffix in CONFIGURATION_SUFFIXES:
        return replace(models, config_path=path), ()
    if path.exists():
        raise ConfigError(f"{path}: is a file; MODEL is the folder of a model, or a config.json")
    if not HUB_ID.fullmatch(text):
        raise ConfigError(f"{text}: no such folder; a Hugging Face id has the form org/name")
    if not can_export:
        raise ConfigError(f"{text}: no such folder")
    note = f"{text} is not a folder here: it is fetched from Hugging Face and exported"
    return _to_export(text, repository, models, note)


def to_path(text: str) -> Path:
    """The path, which need not exist. Raises ConfigError for one that the system refuses."""
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # a name that is too long, or ~ of an unknown user
        raise ConfigError(f"{text[:100]}: {getattr(error, 'strerror', None) or error}") from error
    return path


def _of_folder(
    path: Path, repository: Path, models: ModelArguments, can_export: bool
) -> tuple[ModelArguments, tuple[str, ...]]:
    if can_export and kind_of(path) is FolderKind.CHECKPOINT:
        note = f"{path} is a Hugging Face model: it is exported"
        return _to_export(str(path), repository, models, note)
    problem = find_folder_problem(path) if can_export else None
    if problem is not None:
        raise ConfigError(problem)
    name = models.model_name or _name_of(path, repository)
    # Absolute, as --model_repository_path is otherwise put before it.
    return replace(models, model_name=name, model_path=path.absolute()), ()


def _to_export(
    source: str, repository: Path, models: ModelArguments, note: str
) -> tuple[ModelArguments, tuple[str, ...]]:
    models = replace(models, source_model=source, model_repository_path=repository)
    note = f"{note} to {models.served_path} first, unless it is there already"
    return models, (f"{note}; --help export shows the choices",)


def _name_of(path: Path, repository: Path) -> str:
    """The name below the folder of models, as in OVMS, or else the folder's own name."""
    folder, root = path.resolve(), repository.resolve()
    if folder != root and folder.is_relative_to(root):
        return folder.relative_to(root).as_posix()
    return folder.name
