"""A loaded graph: its nodes are open, and requests run through it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from server.errors import InvalidRequestError, ModelNotReadyError
from server.graph.config import GraphConfig
from server.graph.containment import Containment
from server.graph.contract import Tag
from server.graph.description import GraphDescription, find_mismatch, is_plain_data
from server.graph.node_run import NO_PARAMETERS, OpenedNode
from server.graph.nodes.opening import NodeOpener, close_nodes, in_thread
from server.graph.numbers import GraphNumbers
from server.graph.queues.admission import Admission
from server.graph.run import GraphRun, StreamLayout
from server.graph.services import Services
from server.graph.validation.validation import ValidatedGraph, validate

__all__ = ["Graph"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Graph:
    """Made by `Graph.load`. One graph serves any number of runs at a time.

    `input` and `output` are the borders, with the types of the nodes behind them. `numbers` are
    those of an earlier graph, to go on with.
    """

    def __init__(
        self,
        name: str,
        nodes: tuple[OpenedNode, ...],
        layout: StreamLayout,
        border_input: Tag[Any],
        border_output: Tag[Any],
        numbers: GraphNumbers | None = None,
    ) -> None:
        self.name = name
        self.input = border_input
        self.output = border_output
        self._nodes = nodes
        self._layout = layout
        self.numbers = numbers or GraphNumbers()
        self.numbers.keep((node.name for node in nodes), layout.packet_types)
        self._runs: set[GraphRun] = set()
        self._is_closing = False
        self._closing_reason = ""
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def load(
        cls,
        config: GraphConfig,
        base_path: Path,
        name: str,
        services: Services | None = None,
    ) -> "Graph":
        """Validate the graph and open its nodes, in worker threads and in topological order.

        The nodes get `services` from the server.
        Raises GraphValidationError, or CalculatorOpenError, or the ServingError that a node's
        `open` raised, with the node's name in its message. That node and those opened before it
        are closed.
        """
        # Validation imports calculators, which may take seconds.
        plan = await in_thread(partial(validate, config, base_path))
        return await cls.open(plan, base_path, name, services)

    @classmethod
    async def open(
        cls,
        plan: ValidatedGraph,
        base_path: Path,
        name: str,
        services: Services | None = None,
        numbers: GraphNumbers | None = None,
    ) -> "Graph":
        """Open the nodes of a validated graph; the second half of `load`."""
        nodes = await NodeOpener(base_path, name, services).open(plan.nodes)
        return cls(name, nodes, plan.layout, plan.input, plan.output, numbers)

    @property
    def input_name(self) -> str:
        """The name of the stream at its input."""
        return self._layout.input_name

    @property
    def output_name(self) -> str:
        """The name of the stream at its output."""
        return self._layout.output_name

    @property
    def num_running(self) -> int:
        """How many runs are between entry and exit."""
        return len(self._runs)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator["Graph"]:
        """The graph itself, which is loaded; see `ServedGraph`."""
        yield self

    def find_side_packet(self, kind: type[T]) -> T | None:
        """The first side packet of that type that a node made, connected or not."""
        for node in self._nodes:
            for packet in node.output_side_packets.values():
                if isinstance(packet, kind):
                    return packet
        return None

    def find_mismatch(self, input_type: type, output_type: type) -> str | None:
        """Say that the graph does not turn one type into the other; None where it does."""
        return find_mismatch((self.input, self.output), input_type, output_type)

    def describe(self) -> GraphDescription:
        """What stays known of the graph when it is closed."""
        packets = (
            packet
            for node in self._nodes
            for packet in node.output_side_packets.values()
            if is_plain_data(packet)
        )
        return GraphDescription(
            self.name, self.input, self.output, self.input_name, self.output_name, tuple(packets)
        )

    def admit(self, packets: Sequence[object]) -> Admission:
        """A context for requests that come together: entering it admits all of them, or none.

        Then it raises QueueFullError. Inside, each of them is a run with this `admission`.
        """
        return Admission(self._nodes, packets)

    def start_run(
        self,
        packet: object,
        parameters: Mapping[str, object] = NO_PARAMETERS,
        admission: Admission | None = None,
    ) -> GraphRun:
        """Return a run that takes `packet` at the graph's input; it starts when it is entered.

        `parameters` of the request become the side packets that graph.pbtxt lists at its border.
        Raises ModelNotReadyError while the graph closes, and InvalidRequestError for parameters
        that are missing or have another type.
        """
        self._refuse_when_closing()
        self._check_parameters(parameters)
        if not isinstance(packet, self.input.type):
            raise TypeError(
                f"graph {self.name!r} takes {self.input.type.__name__}, not {type(packet).__name__}"
            )
        return GraphRun(
            self.name,
            self._nodes,
            self._layout,
            packet,
            parameters,
            on_start=self._note_start,
            on_end=self._note_end,
            numbers=self.numbers,
            admission=admission,
        )

    def count_waiting_packets(self) -> dict[str, int]:
        """The packets that wait for their readers now, by stream. Any thread may ask."""
        waiting: dict[str, int] = {}
        for run in tuple(self._runs):
            for name, count in run.count_waiting_packets():
                waiting[name] = waiting.get(name, 0) + count
        return waiting

    def give_up_hung_runs(self, seconds: float, limit_s: float) -> None:
        """End the runs in which a node works for too long; `seconds` since the last call."""
        if any(node.calculator.is_watched for node in self._nodes):
            for run in tuple(self._runs):
                run.give_up_hung(seconds, limit_s)

    def health(self) -> str | None:
        """Return the reason why a node cannot serve now, or None when all can."""
        for node in self._nodes:
            if node.work.failure is not None:
                return node.work.failure
            try:
                with Containment():
                    reason = node.calculator.health()
            except Exception as error:
                reason = f"health() failed: {type(error).__name__}: {error}"
            if reason is not None:
                return f"node {node.name!r}: {reason}"
        return None

    def needs_reload(self) -> bool:
        """Whether a node can serve again only when the graph is loaded again."""
        if any(node.work.failure is not None for node in self._nodes):
            return True
        try:
            with Containment():
                return any(node.calculator.needs_reload() for node in self._nodes)
        except Exception:
            logger.exception("graph %r: needs_reload() of a node failed", self.name)
            return False

    def status(self) -> dict[str, dict[str, object]]:
        """The status of each node by its name; a node whose `status` fails is left out."""
        found = {}
        for node in self._nodes:
            try:
                with Containment():
                    status = dict(node.calculator.status())
                    json.dumps(status, allow_nan=False)
            except Exception:
                logger.exception("status() of node %r failed", node.name)
                continue
            if status:
                found[node.name] = status
        return found

    async def close(self, drain_s: float = 0.0, reason: str = "is shutting down") -> None:
        """Refuse new runs, give the running ones `drain_s` seconds, stop them, close the nodes.

        `reason` is what clients are told whose runs are stopped.
        """
        if self._is_closing:
            return
        self._is_closing = True
        self._closing_reason = reason
        try:
            await self._drain(drain_s)
        finally:
            error = self._closing_error()
            try:
                await asyncio.gather(*(run.stop(error) for run in tuple(self._runs)))
            finally:
                await close_nodes(self._nodes, self.name)

    def _check_parameters(self, parameters: Mapping[str, object]) -> None:
        for name, tag in self._layout.request_packets.items():
            if name not in parameters:
                if not tag.optional:
                    raise InvalidRequestError(
                        f"the parameter {name!r} is missing; it is a {tag.type.__name__}",
                        "parameters",
                    )
            elif type(parameters[name]) is not tag.type:
                found = type(parameters[name]).__name__
                raise InvalidRequestError(
                    f"the parameter {name!r} is a {found}; it must be a {tag.type.__name__}",
                    "parameters",
                )

    async def _drain(self, timeout_s: float) -> None:
        if not self._runs or timeout_s <= 0:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            logger.warning(
                "graph %r: stopping %d runs that did not end within %.1f s",
                self.name,
                self.num_running,
                timeout_s,
            )

    def _closing_error(self) -> ModelNotReadyError:
        return ModelNotReadyError(f"model {self.name!r} {self._closing_reason}")

    def _refuse_when_closing(self) -> None:
        if self._is_closing:
            raise self._closing_error()

    def _note_start(self, run: GraphRun) -> None:
        self._refuse_when_closing()
        self._runs.add(run)
        self.numbers.num_runs += 1
        self._idle.clear()

    def _note_end(self, run: GraphRun) -> None:
        self._runs.discard(run)
        if not self._runs:
            self._idle.set()
