"""A graph as data: read from a graph.pbtxt by server.graph.text.parser, or made in Python."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.graph.contract import NodeType

__all__ = ["DEFAULT_MAX_QUEUE_SIZE", "GraphConfig", "NodeConfig", "Port", "Position"]

DEFAULT_MAX_QUEUE_SIZE = 16


@dataclass(frozen=True, order=True)
class Position:
    """A place in the text of a graph; both counts start at 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Port:
    """One end of a stream or side packet: `TAG:name`, `TAG:index:name`, or `name` alone."""

    tag: str
    index: int
    name: str

    @classmethod
    def parse(cls, text: str) -> "Port":
        """Split the text of a port; raises ValueError when it has none of the three forms."""
        head, colon, name = text.rpartition(":")
        tag, _, index = head.partition(":")
        if index and not (index.isascii() and index.isdigit()):
            raise ValueError(f"{text!r}: the index {index!r} is not a number")
        for part in (tag, name) if colon else (name,):
            if not (part.isascii() and part.isidentifier()):
                raise ValueError(
                    f"{text!r} is not a port; it must be 'TAG:name', 'TAG:index:name' or 'name', "
                    f"in letters, digits and underscores"
                )
        return cls(tag, int(index or 0), name)


@dataclass(frozen=True)
class NodeConfig:
    """One node. Ports are written as in graph.pbtxt: `TAG:name`, `TAG:index:name` or `name`.

    `calculator` is one of the three spellings, or, in a graph made in Python, the class itself.
    `options` is an instance of the calculator's options dataclass, None for its defaults, or the
    text from a graph.pbtxt (server.graph.text.options.OptionsText). `back_edges` are the inputs, as
    `TAG` or `TAG:index`, that a back edge feeds, such as LOOPBACK in OVMS's graphs. Here a node
    streams without a back edge, so these edges are left out.
    """

    calculator: str | type[NodeType[Any]]
    name: str = ""
    input_streams: tuple[str, ...] = ()
    output_streams: tuple[str, ...] = ()
    input_side_packets: tuple[str, ...] = ()
    output_side_packets: tuple[str, ...] = ()
    back_edges: tuple[str, ...] = ()
    options: Any = None
    position: Position | None = None

    @property
    def input_tags(self) -> tuple[str, ...]:
        """The tags of the inputs, without those of back edges."""
        loops = {back_edge.partition(":")[0] for back_edge in self.back_edges}
        return tuple(tag for tag in _tags(self.input_streams) if tag not in loops)

    @property
    def output_tags(self) -> tuple[str, ...]:
        """The tags of the outputs, those that feed back edges included."""
        return _tags(self.output_streams)

    @property
    def calculator_name(self) -> str:
        """The name or spelling of the calculator."""
        if isinstance(self.calculator, str):
            return self.calculator
        return self.calculator.__name__


def _tags(ports: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.rpartition(":")[0].partition(":")[0] for text in ports))


@dataclass(frozen=True)
class GraphConfig:
    """A graph as it was written, not yet validated.

    `max_queue_size` is how many packets each reader of a stream holds before the writer waits.
    `options` are set in every node whose calculator has an option of that name. They replace the
    node's own options.
    """

    nodes: tuple[NodeConfig, ...]
    input_streams: tuple[str, ...] = ()
    output_streams: tuple[str, ...] = ()
    input_side_packets: tuple[str, ...] = ()
    output_side_packets: tuple[str, ...] = ()
    max_queue_size: int = DEFAULT_MAX_QUEUE_SIZE
    source_name: str = "graph"
    options: Mapping[str, Any] = field(default_factory=dict)
