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

from server.engine.system.mappings import Mapping, advise, read_mappings

logger = logging.getLogger(__name__)

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HUGE_PAGE_BYTES = 2 << 20
PAGES_IN_ONE = HUGE_PAGE_BYTES // mmap.PAGESIZE
PIECE_BYTES = 32 << 20
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


def collapse_pages(setting: Path = SETTING) -> Iterator[int]:
    """Move this process's private memory to huge pages, where all small pages of one are in use.

    That takes no more memory. Each time the caller asks, it moves a piece of at most PIECE_BYTES,
    which takes some tens of milliseconds, and yields its bytes.
    Nothing happens on systems that have or allow no huge pages (madvise(2), MADV_COLLAPSE).
    """
    num_bytes = 0
    try:
        if "[never]" in setting.read_text():
            return
        for mapping in [each for each in read_mappings() if each.is_private_memory]:
            for start, size in _whole_ranges(mapping):
                for piece in range(start, start + size, PIECE_BYTES):
                    length = min(PIECE_BYTES, start + size - piece)
                    if advise(piece, length, MADV_COLLAPSE):
                        num_bytes += length
                        yield length
    except OSError as error:
        logger.debug("memory stays in small pages (%s)", error)
    logger.debug("%d MB are in huge pages", num_bytes >> 20)


def _whole_ranges(mapping: Mapping) -> Iterator[tuple[int, int]]:
    """Start and size of the ranges that can be moved to huge pages."""
    begin, last = -(-mapping.start // HUGE_PAGE_BYTES), mapping.end // HUGE_PAGE_BYTES
    if begin >= last:
        return
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        for first in range(begin, last, HUGE_PAGES_AT_ONCE):
            count = min(last - first, HUGE_PAGES_AT_ONCE)
            entries = np.zeros((count, PAGES_IN_ONE), np.uint64)
            pagemap.seek(first * PAGES_IN_ONE * entries.itemsize)
            pagemap.readinto(entries.data.cast("B"))
            for start, end in _runs((entries & PRESENT != 0).all(axis=1)):
                yield (first + start) * HUGE_PAGE_BYTES, (end - start) * HUGE_PAGE_BYTES


def _runs(chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run of True values."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
