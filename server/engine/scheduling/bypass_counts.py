"""Counts how many later requests have started before each waiting one.

Those of other clients count if they have a better priority. With the same one they do not: which
client goes first is decided by what each has had.
"""

import numpy as np

from server.engine.sequence import EngineRequest, Sequence

MAX_BYPASSES = 64
"""How many later requests may start before a request; then it goes before all others."""

NO_ARRIVAL = np.iinfo(np.int64).max
"""The arrival in an empty slot: nothing is later, so nothing is counted there."""


class BypassCounts:
    """One counter for each request that has waiting sequences.

    A start increments them in one vector operation. The count is written to its request when none
    of its sequences waits any more, and when it becomes overdue.
    """

    def __init__(self) -> None:
        self._slots: dict[EngineRequest, int] = {}
        self._sequences: list[list[Sequence]] = []
        self._empty: list[int] = []
        self._arrivals = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._priorities = np.empty(0, np.int64)
        self._clients = np.empty(0, np.int64)

    def add(self, sequence: Sequence) -> None:
        """Count starts for a sequence that waits."""
        slot = self._slots.get(sequence.request)
        if slot is None:
            if not self._empty:
                self._grow()
            slot = self._slots[sequence.request] = self._empty.pop()
            self._arrivals[slot] = sequence.arrival
            self._counts[slot] = sequence.request.num_bypasses
            self._priorities[slot] = sequence.request.priority
            self._clients[slot] = hash(sequence.request.client)
        self._sequences[slot].append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Stop counting for a sequence."""
        slot = self._slots[sequence.request]
        self._sequences[slot].remove(sequence)
        if not self._sequences[slot]:
            sequence.request.num_bypasses = int(self._counts[slot])
            self._arrivals[slot] = NO_ARRIVAL
            del self._slots[sequence.request]
            self._empty.append(slot)

    def count_start(self, started: Sequence) -> list[Sequence]:
        """Count the start of a sequence; returns what is overdue because of it."""
        is_earlier = self._arrivals < started.arrival
        is_earlier &= (self._clients == hash(started.request.client)) | (
            self._priorities > started.request.priority
        )
        self._counts += is_earlier
        overdue = []
        for slot in np.flatnonzero(is_earlier & (self._counts == MAX_BYPASSES)).tolist():
            self._sequences[slot][0].request.num_bypasses = MAX_BYPASSES
            overdue += self._sequences[slot]
        return overdue

    def _grow(self) -> None:
        size = len(self._sequences)
        num_new = max(16, size)
        self._sequences += [[] for _ in range(num_new)]
        self._empty += range(size, size + num_new)
        self._arrivals = np.append(self._arrivals, np.full(num_new, NO_ARRIVAL))
        zeros = np.zeros(num_new, np.int64)
        self._counts = np.append(self._counts, zeros)
        self._priorities = np.append(self._priorities, zeros)
        self._clients = np.append(self._clients, zeros)


def is_overdue(sequence: Sequence) -> bool:
    """Whether so many later requests have started that it must wait no longer."""
    return sequence.request.num_bypasses >= MAX_BYPASSES
