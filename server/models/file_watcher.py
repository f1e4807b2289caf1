"""Reloads what changed on disk, once the change is complete."""

import asyncio
import logging

from server.errors import ServingError
from server.models.model_manager import ModelManager
from server.models.watched_files import Change

__all__ = ["FileWatcher"]

logger = logging.getLogger(__name__)


class FileWatcher:
    """Looks at the files of a manager's models every `interval_s` seconds.

    A change is loaded when two looks in a row find the same: a file may still be growing.
    """

    def __init__(self, manager: ModelManager, interval_s: float) -> None:
        self._manager = manager
        self._interval_s = interval_s
        self._seen: frozenset[Change] = frozenset()
        self._done: frozenset[Change] = frozenset()

    async def run(self) -> None:
        """Watch until cancelled."""
        problem = ""
        while True:
            await asyncio.sleep(self._interval_s)
            if self._manager.is_loading:
                continue
            try:
                await self.look()
            except Exception as error:
                # Once for each problem, not at every look.
                if str(error) != problem:
                    logger.exception("Looking for changes failed; watching goes on")
                problem = str(error)

    async def look(self) -> None:
        """Look once; reload if the look before found the same changes."""
        changes = await asyncio.to_thread(self._manager.find_changes)
        # A change that cannot be loaded is found again at every look; try it once.
        if changes == self._seen and changes != self._done:
            self._done = changes
            if changes:
                await self._reload(changes)
        self._seen = changes

    async def _reload(self, changes: frozenset[Change]) -> None:
        names = sorted(str(path) for path, _ in changes)
        logger.info("Changed: %s", ", ".join(names))
        try:
            await self._manager.reload(retry_failed=False)
        except ServingError:
            # The manager has logged it.
            return
        except Exception:
            logger.exception("Reloading failed unexpectedly; watching goes on")
