"""Starts the requests of all connections, a few in each turn of the event loop.

When thousands of clients send at once, the event loop finds all their requests in one turn, and
would start all of them before it does anything else: write tokens of answers, answer a probe.
"""

import asyncio
from collections import OrderedDict, deque
from enum import IntEnum
from typing import Protocol

__all__ = ["Pacer", "Urgency"]

# To start a request takes about half a millisecond.
READS_PER_TURN = 8
# To accept a connection takes a tenth of that, and a probe may be among those that wait for it.
READS_PER_ACCEPTING_TURN = 2


class Urgency(IntEnum):
    """What has been received. Kinds take turns, so that none waits behind many of another."""

    POLL = 0
    """A request that only asks for something: probes, metrics."""
    BODY = 1
    """More of the body of a request that is at work."""
    NEW = 2


class Reader(Protocol):
    """A connection that has received something."""

    client: str

    def read_held(self) -> None:
        """Read what was received; nothing if the connection has ended meanwhile."""


class Pacer:
    """Bounds how often connections read in a turn of the loop. Clients that wait take turns."""

    def __init__(self) -> None:
        self.is_accepting = False
        """Set in a turn that did not accept all connections that wait."""
        self._num_left = READS_PER_TURN
        self._is_scheduled = False
        self._queues = tuple(_ClientQueue() for _ in Urgency)
        self._turns = deque(self._queues)

    def take(self) -> bool:
        """Whether something may be read now; if so, that is counted."""
        if not self._num_left:
            return False
        self._num_left -= 1
        if not self._is_scheduled:
            self._schedule()
        return True

    def wait(self, reader: Reader, urgency: Urgency) -> None:
        """Call `read_held` in one of the next turns."""
        self._queues[urgency].add(reader)

    def _schedule(self) -> None:
        self._is_scheduled = True
        asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_scheduled = False
        self._num_left = READS_PER_ACCEPTING_TURN if self.is_accepting else READS_PER_TURN
        self.is_accepting = False
        while self._num_left and (reader := self._next()) is not None:
            self.take()
            reader.read_held()

    def _next(self) -> Reader | None:
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            if (reader := self._turns[0].pop()) is not None:
                return reader
        return None


class _ClientQueue:
    """Readers by client: each pop is for the next client."""

    def __init__(self) -> None:
        self._readers = OrderedDict[str, deque[Reader]]()

    def add(self, reader: Reader) -> None:
        self._readers.setdefault(reader.client, deque()).append(reader)

    def pop(self) -> Reader | None:
        if not self._readers:
            return None
        client, readers = self._readers.popitem(last=False)
        reader = readers.popleft()
        if readers:
            self._readers[client] = readers
        return reader
