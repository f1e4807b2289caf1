"""What the nodes and streams of a graph have done: plain numbers, for metrics and pages.

The event loop writes them; any thread may read.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["GraphNumbers", "NodeNumbers", "StreamNumbers"]


@dataclass(slots=True)
class NodeNumbers:
    """The requests of a node: those that began, failed in it, and are in it now.

    `seconds` is the wall time that requests have spent in `process`, from the moment their run
    begins. So it includes waiting for packets of the nodes before, of which `waiting_s` is the sum.
    """

    num_calls: int = 0
    num_errors: int = 0
    num_running: int = 0
    seconds: float = 0.0
    waiting_s: float = 0.0


@dataclass(slots=True)
class StreamNumbers:
    """The packets that were sent on a stream."""

    num_packets: int = 0


@dataclass(slots=True)
class GraphNumbers:
    """The numbers of nodes and streams by their names. They go on when the graph is loaded again.

    `num_runs` counts the requests that began.
    """

    nodes: dict[str, NodeNumbers] = field(default_factory=dict)
    streams: dict[str, StreamNumbers] = field(default_factory=dict)
    num_runs: int = 0

    def keep(self, nodes: Iterable[str], streams: Iterable[str]) -> None:
        """Forget all but these nodes and streams, and begin those that are new."""
        self.nodes = {name: self.nodes.get(name) or NodeNumbers() for name in nodes}
        self.streams = {name: self.streams.get(name) or StreamNumbers() for name in streams}
