"""Files of keys and certificates, which are read again when they change."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from server.errors import ConfigError
from server.models.watched_files import Change, WatchedFiles

__all__ = ["SecretFiles"]

logger = logging.getLogger(__name__)


class _Group:
    """Files that are read together."""

    def __init__(self, files: Sequence[Path], read: Callable[[], None]) -> None:
        self._files = files
        self._read = read
        self._seen: frozenset[Change] = frozenset()
        self._watched = WatchedFiles()
        self._remember()

    def has_changed(self) -> bool:
        """Whether two looks in a row found the same change: a file may still be growing."""
        changes = self._watched.find_changes()
        is_stable = changes == self._seen
        self._seen = changes
        return is_stable and bool(changes)

    def read(self) -> None:
        """Read the files again. Raises ConfigError; what was read before then stays in use."""
        if not all(file.is_file() for file in self._files if file.exists()):
            # What a pipe gave is gone.
            return
        # First, so that a change while they are read is found at the next look.
        self._remember()
        self._read()
        logger.info("Read again: %s", ", ".join(map(str, self._files)))

    def _remember(self) -> None:
        for file in self._files:
            self._watched.add(file)


class SecretFiles:
    """The files of a server, in groups that belong together."""

    def __init__(self) -> None:
        self._groups: list[_Group] = []

    def add(self, files: Sequence[Path], read: Callable[[], None]) -> None:
        """Call `read`, which may raise ConfigError, when one of the files has changed."""
        self._groups.append(_Group(files, read))

    def reload(self) -> None:
        """Read all files. Raises the first ConfigError when it has tried all."""
        errors = list(filter(None, map(_read, self._groups)))
        if errors:
            raise errors[0]

    async def watch(self, interval_s: float) -> None:
        """Look at the files every `interval_s` seconds until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Look once, and read what the look before found changed."""
        for group in self._groups:
            if group.has_changed():
                _read(group)


def _read(group: _Group) -> ConfigError | None:
    try:
        group.read()
    except ConfigError as error:
        logger.error("%s; what was read before stays in use", error)
        return error
    return None
