"""The requests that a node works on: which of them hang, and whether the node still works."""

import contextvars
from concurrent.futures import Executor
from time import monotonic
from types import CoroutineType

__all__ = ["CURRENT_NODE", "NodeWork", "describe_coroutine"]


class NodeWork:
    """What is known of the requests of one node of a loaded graph.

    A request that hangs may be the only one that does. The node itself is taken to hang if no
    request that began later has ended; then `failure` says so until the graph is loaded again.
    `threads` are those in which the node runs blocking code, if it has any. Methods may be called
    from any thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: str | None = None
        self.threads: Executor | None = None
        self._latest_start = 0.0

    def note_end(self, started_at: float) -> None:
        """Note that a request ended by itself; it began at that time of `time.monotonic()`."""
        self._latest_start = max(self._latest_start, started_at)

    def note_hung(self, started_at: float, limit_s: float) -> str:
        """Note that a request of that start is given up; returns what its client is told."""
        problem = (
            f"node {self.name!r} hangs: it has worked on a request for "
            f"{monotonic() - started_at:.0f} s; --hung_node_seconds {limit_s:g} allows no more"
        )
        if self._latest_start <= started_at:
            self.failure = problem
        return problem


CURRENT_NODE: contextvars.ContextVar[NodeWork | None] = contextvars.ContextVar(
    "current_node", default=None
)
"""The node whose `process` runs in this context; set for each request."""


def describe_coroutine(coroutine: object) -> str:
    """Where a coroutine waits: one line for each coroutine that it awaits, the innermost last."""
    lines = []
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
        code, line = coroutine.cr_code, coroutine.cr_frame.f_lineno
        lines.append(f'  File "{code.co_filename}", line {line}, in {code.co_qualname}\n')
        coroutine = coroutine.cr_await
    return "".join(lines)
