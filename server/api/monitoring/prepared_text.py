"""A text that is made in a thread of its own, and shared by all who ask at about the same time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

__all__ = ["PreparedText"]

FRESH_S = 0.04
"""Routers scrape every 50 ms."""

PATIENCE_S, NEWS_PATIENCE_S, STALE_S = 0.002, 0.05, 1.0
"""While there is a text that is not older than STALE_S, a new one is waited for so long: the longer
time where a request has ended since, for who has its answer expects to find it counted."""


class PreparedText:
    """`make` is called in a thread, by one at a time. It must neither wait nor lock.

    `count_ended` says how many requests have ended so far.
    """

    def __init__(
        self, make: Callable[[], bytes], name: str, count_ended: Callable[[], int] = lambda: 0
    ) -> None:
        self._make = make
        self._count_ended = count_ended
        # Of its own: the loop's worker threads may all be busy with long texts.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._text = b""
        self._made_s = float("-inf")
        self._num_ended = 0
        self._work: asyncio.Future[None] | None = None

    async def get(self) -> bytes:
        """The text, as new as it can be without keeping the caller waiting."""
        num_ended = self._count_ended()
        # It is lower after a model was removed.
        has_news = self._num_ended != num_ended
        age_s = monotonic() - self._made_s
        if age_s < FRESH_S and not has_news:
            return self._text
        patience_s = NEWS_PATIENCE_S if has_news else PATIENCE_S
        end_s = monotonic() + patience_s if age_s < STALE_S else None
        await self._renewed(end_s)
        if self._num_ended < num_ended:
            # The work that was waited for had begun before those requests ended.
            await self._renewed(end_s)
        return self._text

    async def _renewed(self, end_s: float | None) -> None:
        """Wait for a new text until then. Without a time, raise what `make` raises."""
        if self._work is None or self._work.done():
            num_ended = self._count_ended()
            self._work = asyncio.get_running_loop().run_in_executor(
                self._executor, self._renew, num_ended
            )
        timeout_s = None if end_s is None else max(0.0, end_s - monotonic())
        await asyncio.wait([self._work], timeout=timeout_s)
        if end_s is None:
            self._work.result()

    def _renew(self, num_ended: int) -> None:
        now = monotonic()
        self._text = self._make()
        self._made_s, self._num_ended = now, num_ended
