"""The admission of some requests to a graph: all of its nodes take them, or none does."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from server.graph.queues.request_queue import Ticket

__all__ = ["Admission"]


class _Node(Protocol):
    """A node with its calculator."""

    @property
    def name(self) -> str: ...

    @property
    def calculator(self) -> Any: ...


class Admission:
    """A context with the tickets that the nodes gave, by the name of the node.

    Raises what a node's `admit` raises; then the others have forgotten the requests.
    """

    def __init__(self, nodes: Sequence[_Node], packets: Sequence[object]) -> None:
        self._nodes = nodes
        self._packets = packets
        self._resources = ExitStack()
        self.tickets: Mapping[str, Ticket] = {}

    def __enter__(self) -> "Admission":
        tickets = {}
        with ExitStack() as stack:
            for node in self._nodes:
                ticket = node.calculator.admit(self._packets)
                if ticket is not None:
                    stack.callback(ticket.close)
                    tickets[node.name] = ticket
            self._resources = stack.pop_all()
        self.tickets = tickets
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()
