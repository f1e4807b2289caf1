"""Tasks without which a process cannot serve."""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

from server.host.watch.watchdog import WATCHDOG

__all__ = ["start_vital_task"]

logger = logging.getLogger(__name__)


def start_vital_task(work: Coroutine[Any, Any, None], what: str) -> "asyncio.Task[None]":
    """Start a task that runs until it is cancelled. Should it end, so does the process.

    `what` names the task in the log, as "watching replica 0".
    """
    task = asyncio.create_task(work)
    task.add_done_callback(partial(_note_end, what))
    return task


def _note_end(what: str, task: "asyncio.Task[None]") -> None:
    if task.cancelled():
        return
    error = task.exception()
    logger.error("%s has ended", what, exc_info=error)
    WATCHDOG.fail(f"{what} has ended unexpectedly{f': {error}' if error else ''}")
