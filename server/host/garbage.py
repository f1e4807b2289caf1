"""When reference cycles that nobody uses any more, and freed memory, are given back.

A full collection looks at every object, and all threads stop meanwhile: for a quarter of a second
while a thousand requests wait. Python begins one whenever their number has grown by a quarter, so
several while many requests arrive. None of them finds much.
"""

import asyncio
import gc
import time
from collections.abc import Callable

from server.host.process_memory import trim_free_memory

__all__ = ["collect_when_quiet"]

INTERVAL_S = 1.0
# Only so many requests have few objects: a collection takes some 20 ms.
NUM_QUIET = 64
# In collections of the middle generation since the last full one; 10 is Python's own number. Before
# each, at most 8,400 objects are made: half a million, or 1.7 million on a busy server. A request
# leaves no cycle unless it fails, and two thousand that wait have 350,000 objects.
MAX_WHEN_QUIET = 60
MAX_WHEN_BUSY = 200
NEVER = 2**31 - 1
# Every thread has freed memory of its own, which adds up to 150 MB in an hour of changing models.
TRIM_INTERVAL_S = 60.0


async def collect_when_quiet(count_requests: Callable[[], int]) -> None:
    """Begin full collections instead of Python, when few requests are at work; does not return.

    Memory that was freed goes back to the system while no request is at work.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], NEVER)
    trimmed_s = time.monotonic()
    try:
        while True:
            await asyncio.sleep(INTERVAL_S)
            num_requests = count_requests()
            is_quiet = num_requests <= NUM_QUIET
            if gc.get_count()[2] > (MAX_WHEN_QUIET if is_quiet else MAX_WHEN_BUSY):
                gc.collect()
            if not num_requests and time.monotonic() - trimmed_s > TRIM_INTERVAL_S:
                await asyncio.to_thread(trim_free_memory)
                trimmed_s = time.monotonic()
    finally:
        gc.set_threshold(*thresholds)
