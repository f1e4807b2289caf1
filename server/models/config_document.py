"""A configuration file, JSON or YAML, as a document that nobody has checked yet."""

import json
from pathlib import Path
from typing import NoReturn

import yaml

from server.errors import ConfigError, ConfigNotFoundError
from server.host.regular_files import open_regular

__all__ = ["FILE_NAMES", "is_folder", "parse_document", "read_document"]

MAX_BYTES = 16 * 2**20
FILE_NAMES = ("config.json", "config.yaml", "config.yml")


def read_document(path: Path) -> tuple[Path, object]:
    """Read a configuration file, or the one in a folder: its path and content.

    Raises ConfigError.
    """
    file = _config_file(path)
    return file, parse_document(file, _read(file), is_yaml=file.suffix in {".yaml", ".yml"})


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that the file system refuses is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _config_file(path: Path) -> Path:
    if not is_folder(path):
        return path.absolute()
    for name in FILE_NAMES:
        if (path / name).is_file():
            return (path / name).absolute()
    raise ConfigError(f"{path}: the folder holds none of {', '.join(FILE_NAMES)}")


def _read(file: Path) -> str:
    try:
        with open_regular(file) as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigNotFoundError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_BYTES >> 20} MiB; not a configuration")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise ConfigError(f'{file}: empty; the least is {{"model_config_list": []}}')
    return text


def parse_document(file: Path, text: str, *, is_yaml: bool) -> object:
    """The content of a JSON or YAML file. Raises ConfigError."""
    parse = _parse_yaml if is_yaml else _parse_json
    try:
        return parse(file, text)
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deeply") from error


def _parse_json(file: Path, text: str) -> object:
    def refuse_constant(constant: str) -> NoReturn:
        raise ConfigError(f"{file}: {constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{file}: not JSON at {where}: {error.msg}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: not usable JSON: {error}") from error


def _parse_yaml(file: Path, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "an unknown place"
        raise ConfigError(f"{file}: not YAML at {where}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: not usable YAML: {error}") from error
