"""What a calculator sees of its graph: in `open`, and for each request in `process`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from server.graph.contract import Contract, NodePorts, Tag
from server.graph.observing.observation import NodePhases
from server.graph.queues.request_queue import UNCOUNTED, Ticket
from server.graph.services import Services
from server.graph.stream import InputStream, OutputStream

__all__ = ["OpenContext", "ProcessContext"]

T = TypeVar("T")


class _NodeContext:
    """What both contexts have."""

    def __init__(
        self,
        node_name: str,
        contract: Contract,
        side_packets: Mapping[str, Any],
    ) -> None:
        self.node_name = node_name
        self._contract = contract
        self._side_packets = side_packets

    def has_side_packet(self, tag: Tag[Any]) -> bool:
        """Whether graph.pbtxt connects an optional input side packet."""
        _check_declared(self.node_name, "input_side_packets", self._contract, tag)
        return tag.name in self._side_packets

    def side_packet(self, tag: Tag[T]) -> T:
        """Return the value that an earlier node set for this input side packet."""
        assert self.has_side_packet(tag), (
            f"node {self.node_name!r}: side packet {tag.name!r} is not connected"
        )
        value: T = self._side_packets[tag.name]
        return value


class OpenContext(_NodeContext):
    """What `Calculator.open` gets; `ports` says to which streams of the graph each tag leads.

    `graph_name` is the name of the graph, which is that of the served model; "" without one.
    """

    def __init__(
        self,
        node_name: str,
        contract: Contract,
        side_packets: Mapping[str, Any],
        base_path: Path,
        services: Services | None = None,
        ports: NodePorts | None = None,
        graph_name: str = "",
    ) -> None:
        super().__init__(node_name, contract, side_packets)
        self.graph_name = graph_name
        self.base_path = base_path
        self.ports = ports or NodePorts()
        self.output_side_packets: dict[str, Any] = {}
        self._services = services or Services()

    @property
    def cache_dir(self) -> Path | None:
        """A folder for what makes the next load faster, or None."""
        return self._services.cache_dir

    def service(self, kind: type[T]) -> T:
        """Return what the server has of this class, or an instance with the class's defaults."""
        return self._services.get(kind)

    def progress(self, text: str, fraction: float) -> None:
        """Tell the server what a long `open` is doing, and which part of it is done, 0 to 1."""
        if self._services.on_progress is not None:
            self._services.on_progress(text, fraction)

    def resolve(self, path: str) -> Path:
        """Return `path` as an absolute path; a relative one starts at graph.pbtxt's folder.

        For files that the node reads: when the file, or a file directly in the folder, changes, the
        graph is loaded again. For files that the node writes, join `base_path` and the path.
        """
        joined = self.base_path / path
        if self._services.on_resolve is not None:
            self._services.on_resolve(joined)
        return joined.resolve()

    def set_side_packet(self, tag: Tag[T], value: T) -> None:
        """Give `value` to the nodes that name this output side packet as an input."""
        _check_declared(self.node_name, "output_side_packets", self._contract, tag)
        if not isinstance(value, tag.type):
            raise TypeError(
                f"node {self.node_name!r} set side packet {tag.name!r} to a "
                f"{type(value).__name__}, but declares {tag.type.__name__}"
            )
        self.output_side_packets[tag.name] = value


class ProcessContext(_NodeContext):
    """What `Calculator.process` gets: the streams of one request, and the node's ticket for it."""

    def __init__(
        self,
        node_name: str,
        contract: Contract,
        side_packets: Mapping[str, Any],
        *,
        inputs: Mapping[str, InputStream[Any]],
        outputs: Mapping[str, OutputStream[Any]],
        ticket: Ticket | None = None,
        phases: NodePhases | None = None,
    ) -> None:
        super().__init__(node_name, contract, side_packets)
        self._inputs = inputs
        self._outputs = outputs
        self._phases = phases
        self.ticket = ticket or UNCOUNTED

    def has_input(self, tag: Tag[Any]) -> bool:
        """Whether graph.pbtxt connects an optional input."""
        _check_declared(self.node_name, "inputs", self._contract, tag)
        return tag.name in self._inputs

    def has_output(self, tag: Tag[Any]) -> bool:
        """Whether graph.pbtxt connects an optional output."""
        _check_declared(self.node_name, "outputs", self._contract, tag)
        return tag.name in self._outputs

    async def receive(self, tag: Tag[T]) -> T:
        """Return the next packet of an input: for inputs of one packet the only one.

        Raises EndOfStream where no packet comes; to let it leave `process` is a normal end.
        """
        packet = await self.input(tag).receive()
        if self._phases is not None:
            self._phases.receive()
        return packet

    def begin_phase(self, name: str) -> None:
        """Say what the node does for this request from now on: a span of its own in traces.

        The phase ends with the next one, or with `process`. It may be called from any thread.
        """
        if self._phases is not None:
            self._phases.begin(name)

    async def send(self, tag: Tag[T], packet: T) -> None:
        """Hand a packet to those that read an output; see OutputStream.send."""
        await self.output(tag).send(packet)

    def input(self, tag: Tag[T]) -> InputStream[T]:
        """Return the stream at an input; an optional one that is not connected has ended."""
        if tag.name in self._inputs:
            return self._inputs[tag.name]
        _check_declared(self.node_name, "inputs", self._contract, tag)
        stream = InputStream[T](f"node {self.node_name!r} input {tag.name!r}", 1)
        stream.close()
        return stream

    def output(self, tag: Tag[T]) -> OutputStream[T]:
        """Return the stream at an output; an optional one that is not connected drops packets."""
        if tag.name in self._outputs:
            return self._outputs[tag.name]
        _check_declared(self.node_name, "outputs", self._contract, tag)
        return OutputStream[T](f"node {self.node_name!r} output {tag.name!r}", tag.type)


def _check_declared(node_name: str, kind: str, contract: Contract, tag: Tag[Any]) -> None:
    declared = [(each.name, each.type) for each in getattr(contract, kind)]
    assert (tag.name, tag.type) in declared, (
        f"node {node_name!r}: tag {tag.name!r} is not among the {kind} of the contract"
    )
