"""Full collections of garbage wait until few requests are at work."""

import asyncio
import ctypes
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.host import garbage
from server.host.garbage import NUM_QUIET, collect_when_quiet
from server.host.process_memory import resident_bytes


class Node:
    """Part of a reference cycle."""

    def __init__(self) -> None:
        self.itself = self


@asynccontextmanager
async def collecting(num_requests: int) -> AsyncIterator[None]:
    task = asyncio.create_task(collect_when_quiet(lambda: num_requests))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()


def old_cycle() -> "weakref.ref[Node]":
    """A cycle that only a full collection finds, when nobody uses it any more."""
    node = Node()
    gc.collect(0)
    gc.collect(1)
    return weakref.ref(node)


def grow(num_collections: int) -> list[list[int]]:
    """Make so many objects that Python begins collections of the middle generation."""
    return [[] for _ in range(num_collections * 12 * 701)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "INTERVAL_S", 0.01)


async def test_a_busy_server_does_not_stop_for_a_collection() -> None:
    async with collecting(NUM_QUIET + 1):
        gc.collect()
        cycle = old_cycle()
        objects = grow(80)
        await asyncio.sleep(0.1)
        assert cycle() is not None
    del objects


@pytest.mark.parametrize(("num_requests", "num_collections"), [(0, 65), (NUM_QUIET + 1, 210)])
async def test_garbage_is_collected(num_requests: int, num_collections: int) -> None:
    async with collecting(num_requests):
        gc.collect()
        cycle = old_cycle()
        objects = grow(num_collections)
        await asyncio.sleep(0.1)
        assert cycle() is None
    del objects


async def test_python_collects_again_afterwards() -> None:
    before = gc.get_threshold()
    async with collecting(0):
        assert gc.get_threshold() != before
    await asyncio.sleep(0)
    assert gc.get_threshold() == before


async def test_freed_memory_goes_back_while_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "TRIM_INTERVAL_S", 0.05)
    c_library = ctypes.CDLL(None)
    c_library.malloc.restype = ctypes.c_void_p
    c_library.free.argtypes = [ctypes.c_void_p]
    size, count = 60_000, 2000
    blocks = [c_library.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    # Every 50th is kept, so that the C library cannot shrink its heap by itself.
    for place, block in enumerate(blocks):
        if place % 50:
            c_library.free(block)
    before = resident_bytes()
    async with collecting(1):
        await asyncio.sleep(0.3)
        assert resident_bytes() > before - size * count // 4
    async with collecting(0):
        for _ in range(500):
            await asyncio.sleep(0.02)
            if resident_bytes() < before - size * count // 2:
                break
    assert resident_bytes() < before - size * count // 2
    for block in blocks[::50]:
        c_library.free(block)
