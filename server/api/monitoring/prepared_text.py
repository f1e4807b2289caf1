"""A text that is made in a thread of its own, and shared by all who ask at about the same time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

__all__ = ["PreparedText"]

FRESH_S = 0.04
"""Routers scrape every 50 ms."""

PATIENCE_S, STALE_S = 0.002, 1.0
"""A new text is waited for so long while there is one that is not older than STALE_S."""


class PreparedText:
    """`make` is called in a thread, by one at a time. It must neither wait nor lock."""

    def __init__(self, make: Callable[[], bytes], name: str) -> None:
        self._make = make
        # Of its own: the loop's worker threads may all be busy with long texts.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._text = b""
        self._made_s = float("-inf")
        self._work: asyncio.Future[None] | None = None

    async def get(self) -> bytes:
        """The text, as new as it can be without keeping the caller waiting."""
        age_s = monotonic() - self._made_s
        if age_s < FRESH_S:
            return self._text
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().run_in_executor(self._executor, self._renew)
        is_usable = age_s < STALE_S
        await asyncio.wait([self._work], timeout=PATIENCE_S if is_usable else None)
        if not is_usable:
            self._work.result()
        return self._text

    def _renew(self) -> None:
        now = monotonic()
        self._text = self._make()
        self._made_s = now
