"""Bounded streams between nodes: they end, and their readers may close them early.

All of it runs on one event loop, so no locks are needed. A `send` with room and a `receive` with a
packet at hand make no future and no task, and do not switch to another coroutine.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Generic, TypeVar

from server.graph.numbers import StreamNumbers

__all__ = ["EndOfStream", "InputStream", "OutputStream", "StreamClosed"]

T = TypeVar("T")


class StreamClosed(Exception):
    """Nobody reads the stream any more; raised from `process`, it is a normal end of the node."""


class EndOfStream(Exception):
    """Every packet was received; raised from `process`, it is a normal end of the node."""


class InputStream(Generic[T]):
    """The reading side of a stream: `async for packet in stream`, or `await stream.receive()`.

    `waited_s` is how long its reader has waited for packets.
    """

    __slots__ = (
        "_capacity",
        "_has_ended",
        "_is_closed",
        "_packets",
        "_waiter",
        "_writer",
        "label",
        "num_received",
        "waited_s",
    )

    def __init__(self, label: str, capacity: int) -> None:
        self.label = label
        self.waited_s = 0.0
        self._capacity = capacity
        self._packets: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._writer: OutputStream[T] | None = None
        self.num_received = 0
        self._has_ended = False
        self._is_closed = False

    @property
    def num_waiting(self) -> int:
        """Packets that wait for the reader."""
        return len(self._packets)

    def __aiter__(self) -> "InputStream[T]":
        return self

    @property
    def is_awaited(self) -> bool:
        """Whether the reader waits for a packet."""
        return self._waiter is not None

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> T:
        """Return the next packet; raises EndOfStream after the last one, and after `close`."""
        packets = self._packets
        while not packets:
            if self._has_ended:
                raise EndOfStream(f"{self.label} has ended")
            await self._wait_for_packet()
        packet = packets.popleft()
        self.num_received += 1
        if self._writer is not None:
            self._writer._notice_room()
        return packet

    def close(self) -> None:
        """Stop reading: drop the waiting packets, and tell the writer to stop."""
        if self._is_closed:
            return
        self._is_closed = True
        self._packets.clear()
        self._end()
        if self._writer is not None:
            self._writer._notice_close(self)

    def _is_full(self) -> bool:
        return len(self._packets) >= self._capacity

    def _put(self, packet: T) -> None:
        self._packets.append(packet)
        self._wake()

    def _end(self) -> None:
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait_for_packet(self) -> None:
        if self._waiter is not None:
            raise RuntimeError(f"{self.label} is read by two tasks at once")
        self._waiter = asyncio.get_running_loop().create_future()
        began = perf_counter()
        try:
            await self._waiter
        finally:
            self.waited_s += perf_counter() - began
            self._waiter = None


class OutputStream(Generic[T]):
    """The writing side of a stream. Several nodes may read it; each gets every packet.

    A reader that closes its side leaves the others alone; the slowest open reader sets the pace.
    An output that graph.pbtxt connects to nothing has no reader: packets sent to it are dropped,
    and it never counts as closed.
    """

    __slots__ = (
        "_has_ended",
        "_is_closed",
        "_numbers",
        "_on_closed",
        "_packet_type",
        "_readers",
        "_room_waiters",
        "label",
        "num_sent",
    )

    def __init__(
        self,
        label: str,
        packet_type: type[T],
        readers: tuple[InputStream[T], ...] = (),
        on_closed: Callable[[], None] | None = None,
        numbers: StreamNumbers | None = None,
    ) -> None:
        self.label = label
        self._packet_type = packet_type
        self._readers = readers
        self._on_closed = on_closed
        self._numbers = numbers or StreamNumbers()
        self._room_waiters: list[asyncio.Future[None]] = []
        self._is_closed = False
        self._has_ended = False
        self.num_sent = 0
        for reader in readers:
            reader._writer = self

    @property
    def closed(self) -> bool:
        """Whether every reader closed the stream."""
        return self._is_closed

    @property
    def is_awaited(self) -> bool:
        """Whether the writer waits for room."""
        return bool(self._room_waiters)

    async def send(self, packet: T) -> None:
        """Hand `packet` to the readers; waits while one of them is full.

        Raises StreamClosed once every reader closed the stream, and TypeError for a packet that
        is not of the stream's type.
        """
        if not isinstance(packet, self._packet_type):
            raise TypeError(
                f"{self.label} was sent a {type(packet).__name__}, "
                f"but carries {self._packet_type.__name__}"
            )
        while True:
            if self._is_closed or self._has_ended:
                raise StreamClosed(f"{self.label} is closed")
            for reader in self._readers:
                if reader._is_full():
                    break
            else:
                break
            await self._wait_for_room()
        self._numbers.num_packets += 1
        self.num_sent += 1
        for reader in self._readers:
            reader._put(packet)

    def _end(self) -> None:
        """Tell the readers that nothing more comes."""
        self._has_ended = True
        for reader in self._readers:
            reader._end()
        self._wake_writers()

    def _notice_room(self) -> None:
        if self._room_waiters:
            self._wake_writers()

    def _notice_close(self, closed_reader: InputStream[T]) -> None:
        self._readers = tuple(reader for reader in self._readers if reader is not closed_reader)
        self._wake_writers()
        if self._readers or self._is_closed:
            return
        self._is_closed = True
        if self._on_closed is not None:
            self._on_closed()

    def _wake_writers(self) -> None:
        for waiter in self._room_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._room_waiters.clear()

    async def _wait_for_room(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._room_waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._room_waiters:
                self._room_waiters.remove(waiter)
