"""What a trace wants to know of the nodes of one request: when each works, and in which phase.

Whoever starts a run sets RUN_OBSERVER where somebody wants to know; else nothing is noted.
"""

import time
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Protocol

from server.graph.queues.request_queue import Ticket

__all__ = ["RUN_OBSERVER", "NodePhases", "ObservedTicket", "RunObserver"]

QUEUE, INFERENCE = "queue", "inference"


class NodePhases:
    """The phases of a node's work on one request, and the time at which each began.

    `marks` are names and nanoseconds since 1970. A phase ends where the next one begins, the last
    one with the node. Any thread may begin one.
    """

    __slots__ = ("has_queue", "marks")

    def __init__(self, *, has_queue: bool) -> None:
        self.has_queue = has_queue
        self.marks: list[tuple[str, int]] = []

    def begin(self, name: str) -> None:
        """The phase `name` begins now."""
        self.marks.append((name, time.time_ns()))

    def receive(self) -> None:
        """The node has got a packet; after its first one it waits in its queue, if it has one."""
        if self.has_queue and not self.marks:
            self.begin(QUEUE)

    def start(self) -> None:
        """The request has left the queue."""
        if self.marks and self.marks[-1][0] == QUEUE:
            self.begin(INFERENCE)


class RunObserver(Protocol):
    """Is told of every node of a run."""

    def node(
        self, graph: str, node: str, calculator: str, phases: NodePhases
    ) -> AbstractContextManager[None]:
        """A context for the work of one node, entered and left in the task of the node.

        What the node raises goes through it; `failure_of` tells errors from normal ends.
        """


RUN_OBSERVER: ContextVar[RunObserver | None] = ContextVar("run_observer", default=None)


class ObservedTicket(Ticket):
    """A ticket that notes when the requests leave the queue."""

    def __init__(self, ticket: Ticket, phases: NodePhases) -> None:
        self.client = ticket.client
        self._ticket = ticket
        self._phases = phases

    def add_tokens(self, num_tokens: int) -> None:
        self._ticket.add_tokens(num_tokens)

    def start(self, num_requests: int = 1, num_tokens: int = 0) -> None:
        self._phases.start()
        self._ticket.start(num_requests, num_tokens)

    def start_all(self) -> None:
        self._phases.start()
        self._ticket.start_all()

    def close(self) -> None:
        self._ticket.close()
