"""The rows that wait for a device, and whose turn it is."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from calculators.encoders.batch_planning import padded_length
from calculators.encoders.encoder_service import EncoderRow, Vector
from server.errors import copy_error
from server.graph import Ticket

__all__ = ["Call", "QueuedRow", "RowQueue"]


class Call:
    """The rows of one caller. `result` is done when all are, or one of them has failed."""

    def __init__(self, rows: Sequence[EncoderRow], ticket: Ticket) -> None:
        self.ticket = ticket
        self.result: asyncio.Future[list[Vector]] = asyncio.get_running_loop().create_future()
        self._rows = rows
        self._outputs: list[Vector | None] = [None] * len(rows)
        self._num_missing = len(rows)
        # The longest last, as they are taken from the end: then rows that are taken after each
        # other have about the same length.
        self._waiting = sorted(range(len(rows)), key=lambda i: len(rows[i]))

    @property
    def num_waiting(self) -> int:
        """How many rows nobody has taken."""
        return len(self._waiting)

    def take(self) -> tuple[int, EncoderRow]:
        """The next row and its index; it waits no longer."""
        index = self._waiting.pop()
        row = self._rows[index]
        self.ticket.start(1, len(row))
        return index, row

    def drop_waiting(self) -> int:
        """Forget the rows that wait; returns how many tokens they have."""
        num_tokens = sum(len(self._rows[index]) for index in self._waiting)
        self._waiting.clear()
        return num_tokens

    def finish(self, index: int, output: Vector | Exception) -> None:
        """Note the output of a row, or why there is none."""
        if self.result.done():
            return
        if isinstance(output, Exception):
            self.result.set_exception(copy_error(output))
            return
        self._outputs[index] = output
        self._num_missing -= 1
        if self._num_missing == 0:
            self.result.set_result([found for found in self._outputs if found is not None])


@dataclass(frozen=True, slots=True, eq=False)
class QueuedRow:
    """Row `index` of a call."""

    call: Call
    index: int
    row: EncoderRow
    padded_length: int

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.call.result.done()


class RowQueue:
    """Clients take turns, and so do the calls of each, row by row.

    So a call with many rows does not hold up the others, nor does a client with many calls.
    """

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._calls: OrderedDict[str, deque[Call]] = OrderedDict()
        self.num_tokens = 0

    @property
    def num_rows(self) -> int:
        """How many rows wait."""
        return sum(call.num_waiting for calls in self._calls.values() for call in calls)

    def add(self, call: Call, num_tokens: int) -> None:
        """Let the rows of a call wait."""
        self._calls.setdefault(call.ticket.client, deque()).append(call)
        self.num_tokens += num_tokens

    def discard(self, call: Call) -> None:
        """Take out what waits of a call; harmless if nothing does."""
        if call.num_waiting:
            calls = self._calls[call.ticket.client]
            calls.remove(call)
            if not calls:
                del self._calls[call.ticket.client]
            self.num_tokens -= call.drop_waiting()

    def take(self, token_budget: int) -> list[QueuedRow]:
        """Take rows, one of each client in turn, until they have so many tokens with padding.

        The first row is taken whatever its length; none means that none wait.
        """
        taken: list[QueuedRow] = []
        num_padded = 0
        while self._calls and num_padded < token_budget:
            client, calls = self._calls.popitem(last=False)
            call = calls.popleft()
            index, row = call.take()
            if call.num_waiting:
                calls.append(call)
            if calls:
                self._calls[client] = calls
            length = padded_length(len(row), self._max_length)
            taken.append(QueuedRow(call, index, row, length))
            num_padded += length
            self.num_tokens -= len(row)
        return taken
