"""Huge pages for memory that every step reads, on kernels that have them."""

import logging
import mmap
import platform
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from server.engine.kv.kv_cache import CacheInput, HostKVCache
from server.engine.system import huge_pages
from server.engine.system.huge_pages import (
    HUGE_PAGE_BYTES,
    SETTING,
    collapse_pages,
    prefer_huge_pages,
)

pytestmark = pytest.mark.skipif(
    not SETTING.is_file() or "[never]" in SETTING.read_text(), reason="a kernel without huge pages"
)


def smaps_of(address: int) -> dict[str, str]:
    """What /proc/self/smaps says of the mapping with this address."""
    found: dict[str, str] = {}
    is_it = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key, _, value = line.partition(" ")
        if not key.endswith(":"):
            start, end = (int(part, 16) for part in key.split("-"))
            is_it = start <= address < end
        elif is_it:
            found[key[:-1]] = value.strip()
    return found


def kilobytes(address: int, key: str) -> int:
    return int(smaps_of(address)[key].split()[0])


def mapped(num_huge: int) -> tuple[mmap.mmap, np.ndarray]:
    """A mapping and its bytes; its flags keep the kernel from merging it with a neighbour."""
    memory = mmap.mmap(-1, num_huge * HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_DONTDUMP)
    return memory, np.frombuffer(memory, np.uint8)


def write_small_pages(memory: mmap.mmap, data: np.ndarray, values: np.ndarray | int) -> None:
    """Write to small pages, even with the setting "always", which may become huge ones later."""
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    data[:] = values
    memory.madvise(mmap.MADV_HUGEPAGE)


@pytest.mark.skipif(
    tuple(int(part) for part in platform.release().split(".")[:2]) < (6, 1),
    reason="a kernel without MADV_COLLAPSE",
)
def test_memory_in_use_goes_to_huge_pages_and_keeps_its_contents() -> None:
    memory, data = mapped(8)
    values = np.random.default_rng(0).integers(0, 256, len(data), np.uint8)
    write_small_pages(memory, data, values)
    assert kilobytes(data.ctypes.data, "AnonHugePages") == 0
    assert sum(collapse_pages()) >= 6 * HUGE_PAGE_BYTES
    assert kilobytes(data.ctypes.data, "AnonHugePages") >= 6 * 2048
    assert np.array_equal(data, values)


def test_memory_that_is_only_partly_used_does_not_grow() -> None:
    memory, data = mapped(8)
    write_small_pages(memory, data[:: 2 * mmap.PAGESIZE], 1)
    before = kilobytes(data.ctypes.data, "Rss")
    sum(collapse_pages())
    assert kilobytes(data.ctypes.data, "Rss") == before


def test_nothing_happens_if_the_system_forbids_huge_pages(tmp_path: Path) -> None:
    memory, data = mapped(4)
    write_small_pages(memory, data, 1)
    setting = tmp_path / "enabled"
    setting.write_text("always madvise [never]\n")
    assert sum(collapse_pages(setting)) == 0
    assert sum(collapse_pages(tmp_path / "missing")) == 0
    assert kilobytes(data.ctypes.data, "AnonHugePages") == 0


def test_the_kv_cache_asks_for_huge_pages() -> None:
    cache = HostKVCache((CacheInput("key_cache.0", ov.Type.bf16, (2, 32, 64)),), 1024)
    data = cache.tensors["key_cache.0"].data
    assert "hg" in smaps_of(data.ctypes.data)["VmFlags"].split()
    del data
    cache.close()


def test_a_system_without_huge_pages_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    with caplog.at_level(logging.DEBUG):
        prefer_huge_pages(Refusing(-1, mmap.PAGESIZE))
    assert "no huge pages for the KV cache ([Errno 22] Invalid argument)" in caplog.text


def test_runs() -> None:
    chosen = np.array([True, False, True, True, False, True])
    assert huge_pages._runs(chosen) == [(0, 1), (2, 4), (5, 6)]
    assert huge_pages._runs(np.zeros(3, bool)) == []
