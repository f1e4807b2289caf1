"""Closes graphs that were replaced or removed, while others serve."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

from server.errors import ModelLoadError
from server.host.process_memory import give_back_free_memory
from server.models.loading.load import leave_alone

__all__ = ["Retirements"]

logger = logging.getLogger(__name__)

# A request that was just given a graph starts its run a moment later, so close the graph later.
HAND_OVER_S = 1.0
# What closing may take beyond the time that requests have to end.
CLOSE_S = 15.0
# Closings that hang: each keeps a model in memory until the process ends.
MAX_HUNG = 2


class Retirements:
    """The closings that run, by name and version of the model.

    A model is loaded only when its earlier graphs are closed: at most two graphs of it are in
    memory, one that serves and one that is being loaded.
    """

    def __init__(self, drain_timeout_s: float) -> None:
        self._limit_s = HAND_OVER_S + drain_timeout_s + CLOSE_S
        self._tasks: dict[tuple[str, int], set[asyncio.Task[None]]] = defaultdict(set)

    def add(self, key: tuple[str, int], closing: Coroutine[Any, Any, None]) -> None:
        """Run the closing of a graph soon."""
        task = asyncio.create_task(_retire(closing, key[0], self._limit_s))
        self._tasks[key].add(task)
        task.add_done_callback(lambda task: self._note_end(key, task))

    async def wait_for(self, key: tuple[str, int]) -> None:
        """Wait until the earlier graphs of a model are closed; one that hangs is left behind.

        Raises ModelLoadError if MAX_HUNG of them hang.
        """
        if key not in self._tasks:
            return
        logger.info("Model %s: waiting until its last graph has ended its requests", key[0])
        _, hung = await asyncio.wait(tuple(self._tasks[key]), timeout=self._limit_s)
        if len(hung) >= MAX_HUNG:
            raise ModelLoadError(
                f"{len(hung)} earlier graphs of model {key[0]!r} hang while they are closed; they "
                f"keep their memory, and at most {MAX_HUNG} may. Restart the server"
            )
        if hung:
            logger.warning("Model %s: its last graph hangs and keeps its memory", key[0])

    async def wait(self) -> None:
        """Wait until all are closed."""
        await asyncio.gather(*(task for tasks in self._tasks.values() for task in tasks))

    def _note_end(self, key: tuple[str, int], task: "asyncio.Task[None]") -> None:
        self._tasks[key].discard(task)
        if not self._tasks[key]:
            del self._tasks[key]


async def _retire(closing: Coroutine[Any, Any, None], name: str, limit_s: float) -> None:
    await asyncio.sleep(HAND_OVER_S)
    task = asyncio.create_task(closing, name=f"close {name}")
    await asyncio.wait([task], timeout=limit_s)
    if not task.done():
        leave_alone(task)
    await task
    await asyncio.to_thread(give_back_free_memory)
