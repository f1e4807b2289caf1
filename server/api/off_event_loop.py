"""Work on large bodies, in threads of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from server.protocol.json_body import SMALL_BODY_BYTES

__all__ = ["off_event_loop"]

T = TypeVar("T")

# Few, as only one of them computes at a time; and the memory for what they make is bounded so.
_threads = ThreadPoolExecutor(2, "large-bodies")


async def off_event_loop(work: Callable[[], T], num_bytes: int) -> T:
    """Do something that takes time in proportion to `num_bytes`; in a thread if that is long.

    The work must let other threads run meanwhile: no single call of C code may take long.
    """
    if num_bytes <= SMALL_BODY_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_threads, copy_context().run, work)
