"""The threads in which asyncio runs blocking code: each node of each loaded graph has its own."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from server.errors import NodeHungError
from server.graph.nodes.node_work import CURRENT_NODE, NodeWork
from server.host.watch import WATCHDOG, ReplacedThreads

__all__ = ["NodeThreads"]

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS_OF_SERVER = 32
MAX_THREADS_OF_NODE = 64


class NodeThreads(ThreadPoolExecutor):
    """The default executor of an event loop; `asyncio.to_thread` uses it, in nodes too.

    What a node calls there may hang, and takes threads from no other node and not from the server.
    """

    def __init__(self) -> None:
        super().__init__(MAX_THREADS_OF_SERVER, "server")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a function in a thread of the node whose `process` calls, or else of the server."""
        work = CURRENT_NODE.get()
        if work is None:
            return super().submit(fn, *args, **kwargs)
        if work.threads is None:
            work.threads = _threads_of(work)
        return work.threads.submit(fn, *args, **kwargs)


def _threads_of(work: NodeWork) -> ReplacedThreads:
    def make_error(started_at: float) -> NodeHungError:
        return NodeHungError(work.note_hung(started_at, WATCHDOG.hung_node_after_s))

    return ReplacedThreads(f"node {work.name!r}", MAX_THREADS_OF_NODE, make_error)
