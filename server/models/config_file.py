"""The entry of an exported model in config.json."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from server.errors import ConfigError, did_you_mean
from server.host.atomic_files import folder_lock, write_atomically
from server.models.config import load_config

__all__ = ["ConfigFile"]

NO_KEYS: Mapping[str, Any] = MappingProxyType({})


class ConfigFile:
    """A config.json that lists the models to serve. Its other contents are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Raise ConfigError if an entry could not be added."""
        if self.path.suffix in {".yaml", ".yml"}:
            raise ConfigError(
                f"{self.path}: only JSON can be updated, a YAML file would lose its comments; "
                "change it by hand, or name another file"
            )
        if self.path.is_dir():
            raise ConfigError(f"{self.path} is a folder; the path of a file is needed")
        if self.path.exists():
            load_config(self.path)

    def add(self, name: str, model_folder: Path, keys: Mapping[str, Any] = NO_KEYS) -> None:
        """Add the model, or set `base_path` and `keys` of the entry that has its name."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Else the entry of another export that writes at the same time could be lost.
        with folder_lock(self.path.parent, wait=True):
            self.check()
            document = self._read()
            self._merge(document, name, {"base_path": self._base_path(model_folder), **keys})
            self._write(document)

    def remove(self, name: str) -> None:
        """Remove the entry of that name. Raises ConfigError if there is none."""
        if not self.path.exists():
            raise ConfigError(f"{self.path}: no such file")
        with folder_lock(self.path.parent, wait=True):
            self.check()
            document = self._read()
            names = [entry["name"] for entry in _entries(document)]
            if name not in names:
                hint = did_you_mean(name, names) or f"; it lists {', '.join(names) or 'none'}"
                raise ConfigError(f"{self.path}: there is no model {name!r}{hint}")
            _remove(document, name)
            self._write(document)

    def _write(self, document: dict[str, Any]) -> None:
        text = json.dumps(document, indent=4, ensure_ascii=False) + "\n"
        write_atomically(self.path, text, check=load_config)

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"mediapipe_config_list": [], "model_config_list": []}
        document: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8-sig"))
        return document

    def _base_path(self, model_folder: Path) -> str:
        """The path relative to the file, so that both can be moved together."""
        path = os.path.relpath(model_folder.resolve(), self.path.resolve().parent)
        return Path(path).as_posix()

    @staticmethod
    def _merge(document: dict[str, Any], name: str, keys: Mapping[str, Any]) -> None:
        named = [entry for entry in _entries(document) if entry["name"] == name]
        for entry in named:
            entry.update(keys)
        if not named:
            models = document.setdefault("model_config_list", [])
            models.append({"config": {"name": name, **keys}})


def _entries(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document.get("model_config_list", []):
        yield item["config"]
    yield from document.get("mediapipe_config_list", [])


def _remove(document: dict[str, Any], name: str) -> None:
    for key in ("model_config_list", "mediapipe_config_list"):
        if key in document:
            # In the first list each entry is wrapped in {"config": ...}.
            document[key] = [i for i in document[key] if i.get("config", i)["name"] != name]
