"""One node in one run of a graph: its streams, how it is observed, and whether it hangs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import MappingProxyType
from typing import Any

from server.graph.calculator import Calculator
from server.graph.containment import Containment, failure_of
from server.graph.context import ProcessContext
from server.graph.contract import Contract
from server.graph.nodes.node_work import CURRENT_NODE, NodeWork
from server.graph.numbers import NodeNumbers
from server.graph.observing.observation import NodePhases, ObservedTicket, RunObserver
from server.graph.queues.request_queue import Ticket
from server.graph.stream import InputStream, OutputStream

__all__ = ["NO_PARAMETERS", "NodeRun", "OpenedNode", "node_error"]

NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})

NO_NUMBERS = NodeNumbers()
"""Of a node that runs without a graph."""


@dataclass(frozen=True)
class OpenedNode:
    """A node of a loaded graph; the maps go from tag name to stream name, or to value.

    `request_packets` are the side packets that each request brings: tag name -> parameter.
    """

    name: str
    calculator: Calculator[Any]
    contract: Contract
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    side_packets: Mapping[str, Any]
    output_side_packets: Mapping[str, Any] = field(default_factory=dict)
    request_packets: Mapping[str, str] = field(default_factory=dict)
    work: NodeWork = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is known of its requests yet."""
        object.__setattr__(self, "work", NodeWork(self.name))


class NodeRun:
    """One node in a run."""

    def __init__(self, node: OpenedNode, parameters: Mapping[str, Any] = NO_PARAMETERS) -> None:
        self.node = node
        self.side_packets = node.side_packets
        if node.request_packets:
            found = {
                tag: parameters[name]
                for tag, name in node.request_packets.items()
                if name in parameters
            }
            self.side_packets = {**node.side_packets, **found}
        self.inputs: dict[str, InputStream[Any]] = {}
        self.outputs: dict[str, OutputStream[Any]] = {}
        self.ticket: Ticket | None = None
        self.phases: NodePhases | None = None
        self.num_wanted_outputs = 0
        self.is_stopping = False
        self.task: asyncio.Task[None] | None = None
        self.numbers = NO_NUMBERS
        self.started_at = monotonic()
        self._progress = 0
        self._busy_s = 0.0

    def context(self) -> ProcessContext:
        """Make what `process` gets."""
        node = self.node
        return ProcessContext(
            node.name,
            node.contract,
            self.side_packets,
            inputs=self.inputs,
            outputs=self.outputs,
            ticket=self.ticket,
            phases=self.phases,
        )

    async def process_observed(self, observer: RunObserver, graph_name: str) -> None:
        """The same as `process` while somebody observes it."""
        node = self.node
        phases = self.phases = NodePhases(has_queue=self.ticket is not None)
        if self.ticket is not None:
            self.ticket = ObservedTicket(self.ticket, phases)
        with observer.node(graph_name, node.name, type(node.calculator).__name__, phases):
            await self.process()

    async def process(self) -> None:
        """Do the node's work on this request."""
        CURRENT_NODE.set(self.node.work)
        with Containment(asyncio.CancelledError, GeneratorExit):
            await self.node.calculator.process(self.context())

    def stop(self) -> None:
        """Cancel the node, but only once: a second time would interrupt its `finally` blocks."""
        if self.task is not None and not self.is_stopping and not self.task.done():
            self.is_stopping = True
            self.task.cancel()

    def is_hung(self, seconds: float, limit_s: float) -> bool:
        """Whether the node has neither received nor sent a packet for so long, nor waits for it.

        `seconds` have passed since the last look.
        """
        if self.task is None or self.task.done() or self.is_stopping:
            return False
        inputs, outputs = self.inputs.values(), self.outputs.values()
        progress = sum(s.num_received for s in inputs) + sum(s.num_sent for s in outputs)
        is_waiting = any(s.is_awaited for s in inputs) or any(s.is_awaited for s in outputs)
        if is_waiting or progress != self._progress:
            self._progress, self._busy_s = progress, 0.0
        else:
            self._busy_s += seconds
        return self._busy_s > limit_s

    def notice_closed_output(self) -> None:
        """Stop the node if nobody reads any of its outputs any more."""
        self.num_wanted_outputs -= 1
        if self.num_wanted_outputs == 0:
            self.stop()


def node_error(task: asyncio.Task[None]) -> BaseException | None:
    """Return what a node's task ended with, or None where that is a normal end."""
    return asyncio.CancelledError() if task.cancelled() else failure_of(task.exception())
