"""The files of a model folder that say how its chats look: templates and special tokens."""

import json
from pathlib import Path
from typing import Any

from server.errors import ModelLoadError

__all__ = ["find_templates", "read_special_tokens", "read_tokenizer_class"]

TEMPLATE_FILE_NAME = "chat_template.jinja"
EXTRA_TEMPLATES_FOLDER_NAME = "additional_chat_templates"
CONFIG_FILE_NAMES = ("chat_template.json", "tokenizer_config.json")
SPECIAL_TOKEN_FILE_NAMES = ("special_tokens_map.json", "tokenizer_config.json")


def find_templates(models_path: Path, file: Path | None = None) -> tuple[dict[str, str], Path]:
    """The templates of a model folder by name, and the file that has them.

    The first of these that exists is taken: chat_template.jinja (with
    additional_chat_templates/*.jinja), chat_template.json, tokenizer_config.json. In the JSON files
    "chat_template" is a text, or a list of {"name": ..., "template": ...}. `file`, if given, is the
    only template. Raises ModelLoadError.
    """
    if file is not None:
        return {"default": _read(file)}, file
    path = models_path / TEMPLATE_FILE_NAME
    if path.is_file():
        extra = sorted((models_path / EXTRA_TEMPLATES_FOLDER_NAME).glob("*.jinja"))
        return {"default": _read(path), **{file.stem: _read(file) for file in extra}}, path
    for name in CONFIG_FILE_NAMES:
        path = models_path / name
        template = _read_json_object(path).get("chat_template")
        if isinstance(template, str):
            return {"default": template}, path
        if isinstance(template, list):
            return dict(_named_template(entry, path) for entry in template), path
    return {}, models_path


def _named_template(entry: object, path: Path) -> tuple[str, str]:
    if isinstance(entry, dict):
        name, template = entry.get("name"), entry.get("template")
        if isinstance(name, str) and isinstance(template, str):
            return name, template
    raise ModelLoadError(
        f'{path}: "chat_template" lists {str(entry)[:100]}; each must be '
        '{"name": text, "template": text}'
    )


def read_special_tokens(models_path: Path) -> dict[str, str]:
    """Return bos_token, eos_token and the like; their values are texts or {"content": text}."""
    special_tokens = {}
    for name in SPECIAL_TOKEN_FILE_NAMES:
        for key, value in _read_json_object(models_path / name).items():
            content = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(content, str):
                special_tokens[key] = content
    return special_tokens


def read_tokenizer_class(models_path: Path) -> str | None:
    """Return the name of the tokenizer's class in transformers, if the folder says it."""
    name = _read_json_object(models_path / "tokenizer_config.json").get("tokenizer_class")
    return name if isinstance(name, str) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelLoadError(f"{path}: cannot be read: {error}") from error


def _read_json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(_read(path))
    except ValueError as error:
        raise ModelLoadError(f"{path}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path}: holds a {type(value).__name__}; it must be an object")
    return value
