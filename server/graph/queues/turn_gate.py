"""Turns between clients, for what can serve only some requests at a time."""

import asyncio
from collections import OrderedDict, deque

__all__ = ["TurnGate"]


class TurnGate:
    """Lets `num_places` callers in at a time; of those that wait, each client in turn.

    It belongs to one event loop.
    """

    def __init__(self, num_places: int) -> None:
        self._num_places = num_places
        self._num_inside = 0
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def num_inside(self) -> int:
        """How many have a place."""
        return self._num_inside

    @property
    def num_waiting(self) -> int:
        """How many wait for a place."""
        return sum(map(len, self._lines.values()))

    async def enter(self, client: str) -> None:
        """Wait for a place; `leave` must follow."""
        if self._num_inside < self._num_places and not self._lines:
            self._num_inside += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place came at the same moment.
                self.leave()
            else:
                self._forget(client, turn)
            raise

    def leave(self) -> None:
        """Give a place back; the next one that waits gets it."""
        self._num_inside -= 1
        while self._lines and self._num_inside < self._num_places:
            client, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[client] = line
            if not turn.done():
                self._num_inside += 1
                turn.set_result(None)

    def _forget(self, client: str, turn: "asyncio.Future[None]") -> None:
        line = self._lines.get(client)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[client]
