"""The base class of every node."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from server.graph.context import OpenContext, ProcessContext
from server.graph.contract import NodeType, OptionsT
from server.graph.queues.request_queue import Ticket

__all__ = ["Calculator"]


class Calculator(NodeType[OptionsT]):
    """A node of a graph. Subclass it, state the `contract`, and write `process`.

    One instance exists for each node of each loaded graph. `process` runs once per request, many
    requests at a time on the same instance, so what belongs to a request lives in local variables.
    A subclass of `Calculator[MyOptions]` finds the node's options in `self.options`, a subclass of
    `Calculator` has none. The first line of the class docstring is what
    `server --list_calculators` shows.
    """

    options: OptionsT
    is_watched: ClassVar[bool] = True
    """Whether a request ends when `process` neither receives nor sends for --hung_node_seconds.

    False where the node itself notices what hangs, because requests may wait for their turn.
    """

    def open(self, cc: OpenContext) -> None:
        """Prepare the node once per loaded graph, in a worker thread; load heavy things here.

        Every tag of `output_side_packets` that is not optional must be set with
        `cc.set_side_packet`. An exception makes the graph unavailable, and its message the reason.
        """

    def check(self, cc: OpenContext) -> None:
        """Raise what `open` would raise, as far as files tell it; `server --check` calls this.

        Nothing is loaded or kept, and `cc` has no side packets.
        """

    def admit(self, packets: Sequence[object]) -> Ticket | None:
        """Take requests, or raise QueueFullError before any node works on them; must not block.

        `packets` are at the graph's input: one request, or those of one client that come together.
        The ticket is `cc.ticket` in each `process`; it is closed when all of them have ended. A
        RequestQueue gives tickets.
        """
        return None

    async def process(self, cc: ProcessContext) -> None:
        """Serve one request: `await cc.receive(TAG)`, `await cc.send(TAG, packet)`, and return.

        `cc.input(TAG)` and `cc.output(TAG)` are the streams, for more than one packet. The outputs
        end when it returns. It is cancelled when nobody wants its outputs any more, so cleanup
        belongs in `finally`. Any exception but StreamClosed and EndOfStream fails the request.
        """
        raise NotImplementedError(f"{type(self).__name__} has no process()")

    def close(self) -> None:
        """Release what `open` took; in a worker thread, after the last request of the graph.

        It is also called right after an `open` that failed, so some of that may be missing.
        """

    def status(self) -> Mapping[str, object]:
        """Facts for operators, as JSON values, shown in /v1/config; must not block."""
        return {}

    def health(self) -> str | None:
        """Say why this node cannot serve now; None if it can. Must not block."""
        return None

    def needs_reload(self) -> bool:
        """Whether the node, which cannot serve, can again only when its graph is loaded again.

        The server does so at once, beside the old graph. `close` of that must not wait for what
        hangs. Must not block.
        """
        return False
