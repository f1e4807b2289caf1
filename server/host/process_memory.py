"""How much memory this process and its child processes hold, and giving back what is free."""

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

from server.host.memory import RESERVATIONS

__all__ = ["give_back_free_memory", "held_bytes", "resident_bytes", "trim_free_memory"]

PROC = Path("/proc")
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


def held_bytes() -> int:
    """Resident memory of the process and its children, and what KV caches have reserved."""
    return resident_bytes() + RESERVATIONS.total_bytes


def resident_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process and of all that it started; 0 for one that has ended."""
    try:
        status = (PROC / str(pid) / "status").read_text()
        children = list(_children(pid))
    except OSError:
        return 0
    # A process that is ending has no memory.
    own = status.partition("VmRSS:")[2].split()[:1] or ["0"]
    return int(own[0]) * 1024 + sum(resident_bytes(child) for child in children)


def _children(pid: int | str) -> Iterator[str]:
    for task in (PROC / str(pid) / "task").iterdir():
        try:
            yield from (task / "children").read_text().split()
        except OSError:  # a thread that has ended
            continue


def give_back_free_memory() -> None:
    """Let the system have what is not used any more: objects in cycles, and what was freed.

    A model that was closed may be in a cycle, which lives until the next full collection, and the C
    library keeps most of what is freed. It takes tens of milliseconds, which stop all threads.
    """
    gc.collect()
    trim_free_memory()


def trim_free_memory() -> None:
    """Let the system have what the C library keeps of freed memory, between what is used.

    It takes milliseconds, in which other threads run but may wait to allocate.
    """
    if TRIM is not None:
        TRIM(0)
