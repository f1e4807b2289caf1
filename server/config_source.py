"""Where the configuration comes from, read once more for every reload."""

import time

from server.config import ServerConfig, load_config
from server.errors import ConfigError
from server.watched_files import Change, WatchedFiles

__all__ = ["ConfigSource"]

# An editor that writes in place leaves half a file for a moment.
NUM_ATTEMPTS = 3
PAUSE_S = 0.1


class ConfigSource:
    """The file behind a configuration; one that the command line gave never changes."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._files = self._look()

    def find_changes(self) -> frozenset[Change]:
        """Whether the file is not what was read last."""
        return self._files.find_changes()

    def read(self) -> ServerConfig:
        """The configuration as it is now. Raises ConfigError, and waits a moment before it does."""
        if self._config.path is None:
            return self._config
        for attempt in range(1, NUM_ATTEMPTS + 1):
            files = self._look()
            try:
                self._config = load_config(self._config.path)
            except ConfigError:
                if attempt == NUM_ATTEMPTS:
                    raise
                time.sleep(PAUSE_S)
            else:
                self._files = files
                break
        return self._config

    def _look(self) -> WatchedFiles:
        files = WatchedFiles()
        if self._config.path is not None:
            files.add(self._config.path)
        return files
