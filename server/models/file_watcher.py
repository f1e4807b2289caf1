"""Reloads what changed on disk, once it stays as it is."""

import asyncio
import logging

from server.errors import ServingError
from server.models.model_manager import ModelManager
from server.models.watched_files import Change

__all__ = ["FileWatcher"]

logger = logging.getLogger(__name__)


class FileWatcher:
    """Looks at the files of a manager's models every `interval_s` seconds.

    A change is acted upon when the next look finds the same: half a file is still growing.
    """

    def __init__(self, manager: ModelManager, interval_s: float) -> None:
        self._manager = manager
        self._interval_s = interval_s
        self._seen: frozenset[Change] = frozenset()
        self._done: frozenset[Change] = frozenset()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            if not self._manager.is_loading:
                await self.look()

    async def look(self) -> None:
        """Compare once with what was loaded and with the look before."""
        changes = await asyncio.to_thread(self._manager.find_changes)
        # What a reload could not take over stays a change; one attempt is enough for it.
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
            # The manager has logged it; there is nobody else to tell.
            return
        except Exception:
            logger.exception("Reloading failed for a reason of ours; watching goes on")
