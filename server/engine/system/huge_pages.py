"""Puts memory that every step reads into huge pages, which need fewer address translations.

With "madvise" in /sys/kernel/mm/transparent_hugepage/enabled, which many distributions set, a
process must ask for them (Linux, admin-guide/mm/transhuge).
"""

import logging
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.engine.system.mappings import advise, read_mappings

logger = logging.getLogger(__name__)

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HUGE_PAGE_BYTES = 2 << 20
PAGES_IN_ONE = HUGE_PAGE_BYTES // mmap.PAGESIZE
HUGE_PAGES_AT_ONCE = 512
"""Huge pages whose small pages are looked up together: a gigabyte, as a KV cache can have many."""
PRESENT = np.uint64(1 << 63)
"""The bit that says a page is in memory (Linux, admin-guide/mm/pagemap)."""
MADV_COLLAPSE = 25


def prefer_huge_pages(memory: mmap.mmap) -> None:
    """Ask for huge pages when this memory is written to; no effect on systems without them."""
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError as error:
        logger.debug("no huge pages for the KV cache (%s)", error)


def collapse_pages(setting: Path = SETTING) -> int:
    """Move this process's private memory to huge pages, where all small pages of one are in use.

    That takes no more memory. Nothing happens on systems that have or allow no huge pages. Returns
    the bytes that are in huge pages now (madvise(2), MADV_COLLAPSE).
    """
    num_bytes = 0
    try:
        if "[never]" in setting.read_text():
            return 0
        for start, size in list(_whole_ranges()):
            if advise(start, size, MADV_COLLAPSE):
                num_bytes += size
    except OSError as error:
        logger.debug("memory stays in small pages (%s)", error)
    logger.debug("%d MB are in huge pages", num_bytes >> 20)
    return num_bytes


def _whole_ranges() -> Iterator[tuple[int, int]]:
    """Start and size of the ranges that can be moved to huge pages."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        for mapping in read_mappings():
            if not mapping.is_private_memory:
                continue
            start = -(-mapping.start // HUGE_PAGE_BYTES)
            for first in range(start, mapping.end // HUGE_PAGE_BYTES, HUGE_PAGES_AT_ONCE):
                count = min(mapping.end // HUGE_PAGE_BYTES - first, HUGE_PAGES_AT_ONCE)
                entries = np.zeros((count, PAGES_IN_ONE), np.uint64)
                pagemap.seek(first * PAGES_IN_ONE * entries.itemsize)
                pagemap.readinto(entries.data.cast("B"))
                for begin, end in _runs((entries & PRESENT != 0).all(axis=1)):
                    yield (first + begin) * HUGE_PAGE_BYTES, (end - begin) * HUGE_PAGE_BYTES


def _runs(chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run of True values."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
