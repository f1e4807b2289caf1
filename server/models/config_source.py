"""The source of the configuration, which every reload reads again."""

import time
from pathlib import Path

from server.errors import ConfigError
from server.models.classic_model import find_versions
from server.models.config import ModelConfig, ServerConfig, load_config
from server.models.watched_files import Change, WatchedFiles

__all__ = ["ConfigSource"]

# An editor may be writing the file, which is incomplete for a moment.
NUM_ATTEMPTS = 3
PAUSE_S = 0.1


class ConfigSource:
    """The configuration file, if there is one, and the version folders of its models.

    `current` is the configuration that was read last, with an entry for each version.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._files = self._look()
        self.current = find_versions(config)

    def find_changes(self) -> frozenset[Change]:
        """The changes of the file and of version folders since `current` was read."""
        before, now = set(self.current.models), set(find_versions(self._config).models)
        changed = {(_place(model), model if model in now else None) for model in before ^ now}
        return self._files.find_changes() | changed

    def read(self) -> ServerConfig:
        """Read the configuration again. Raises ConfigError if several attempts fail."""
        if self._config.path is not None:
            self._read_file(self._config.path)
        self.current = find_versions(self._config)
        return self.current

    def look_ahead(self) -> ServerConfig:
        """What `read` would read now; `current` stays. Raises ConfigError."""
        path = self._config.path
        return find_versions(self._config if path is None else load_config(path))

    def _read_file(self, path: Path) -> None:
        for attempt in range(1, NUM_ATTEMPTS + 1):
            files = self._look()
            try:
                self._config = load_config(path)
            except ConfigError:
                if attempt == NUM_ATTEMPTS:
                    raise
                time.sleep(PAUSE_S)
            else:
                for subconfig in self._config.subconfigs:
                    files.add(subconfig)
                self._files = files
                break

    def _look(self) -> WatchedFiles:
        files = WatchedFiles()
        if self._config.path is not None:
            files.add(self._config.path)
        for subconfig in self._config.subconfigs:
            files.add(subconfig)
        return files


def _place(model: ModelConfig) -> Path:
    return model.model_folder or model.graph_path
