"""Opening and closing the nodes of a graph, in worker threads."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from server.errors import CalculatorOpenError, ServingError
from server.graph.calculator import Calculator
from server.graph.containment import Containment
from server.graph.context import OpenContext
from server.graph.run import OpenedNode
from server.graph.services import Services
from server.graph.validation.stream_types import CheckedNode

__all__ = ["NodeOpener", "check_nodes", "close_nodes", "in_thread"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeOpener:
    """Opens the nodes of one graph; side packets go from those opened to those that follow."""

    base_path: Path
    graph_name: str
    services: Services | None
    _opened: list[OpenedNode] = field(default_factory=list)
    _side_packets: dict[str, Any] = field(default_factory=dict)

    async def open(self, nodes: Sequence[CheckedNode]) -> tuple[OpenedNode, ...]:
        """Open the nodes in this order; where one fails, close it and those before it."""
        try:
            for node in nodes:
                await in_thread(partial(self._open, node))
        except BaseException:
            await close_nodes(self._opened, self.graph_name)
            raise
        return tuple(self._opened)

    def _open(self, node: CheckedNode) -> None:
        cls, contract = node.calculator_class, node.contract
        assert cls is not None
        assert contract is not None
        where = f"graph {self.graph_name!r}, node {node.name!r} ({cls.__name__})"
        ports = node.ports
        values = self._side_packets
        side_packets = {
            tag: values[name] for tag, name in ports.input_side_packets.items() if name in values
        }
        base_path = self.base_path.resolve()
        cc = OpenContext(
            node.name, contract, side_packets, base_path, self.services, ports, self.graph_name
        )
        with _naming(where), Containment():
            calculator = cls()
            calculator.options = node.options
            _open_or_close(calculator, cc, where)
        self._opened.append(
            OpenedNode(
                node.name,
                calculator,
                contract,
                ports.inputs,
                ports.outputs,
                side_packets,
                cc.output_side_packets,
                node.request_packets,
            )
        )
        for tag in contract.output_side_packets:
            is_needed = tag.name in ports.output_side_packets or not tag.optional
            if is_needed and tag.name not in cc.output_side_packets:
                raise CalculatorOpenError(f"{where}: open did not set side packet {tag.name!r}")
        for tag_name, name in ports.output_side_packets.items():
            values[name] = cc.output_side_packets[tag_name]


def check_nodes(nodes: Sequence[CheckedNode], base_path: Path, graph_name: str) -> None:
    """Let each node check its files, without opening it. Raises what the first one raises."""
    for node in nodes:
        cls, contract = node.calculator_class, node.contract
        assert cls is not None
        assert contract is not None
        cc = OpenContext(node.name, contract, {}, base_path.resolve(), None, node.ports)
        with _naming(f"graph {graph_name!r}, node {node.name!r} ({cls.__name__})"), Containment():
            calculator = cls()
            calculator.options = node.options
            calculator.check(cc)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Add the node to the message of an error that it raises."""
    try:
        yield
    except ServingError as error:
        # Class and cause stay; only the message is extended.
        error.args = (f"{where}: {error}", *error.args[1:])
        raise
    except Exception as error:
        raise CalculatorOpenError(f"{where}: {type(error).__name__}: {error}") from error


def _open_or_close(calculator: Calculator[Any], cc: OpenContext, where: str) -> None:
    try:
        calculator.open(cc)
    except BaseException:
        try:
            _contained(calculator.close)
        except Exception as error:
            # A warning in one line: why `open` failed is what matters.
            problem = f"{type(error).__name__}: {error}"
            logger.warning("%s: close after the failed open failed as well: %s", where, problem)
        raise


async def close_nodes(nodes: Sequence[OpenedNode], graph_name: str) -> None:
    """Close in reverse order; a `close` that fails is logged and does not stop the others."""
    await in_thread(partial(_close_all, nodes, graph_name))


def _close_all(nodes: Sequence[OpenedNode], graph_name: str) -> None:
    for node in reversed(nodes):
        try:
            _contained(node.calculator.close)
        except Exception:
            logger.exception("graph %r: closing node %r failed", graph_name, node.name)


async def in_thread(function: Callable[[], T]) -> T:
    """Run in a worker thread, to the end: a thread cannot be cancelled, so the caller waits."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    try:
        work = loop.run_in_executor(None, context.run, _contained, function)
    except RuntimeError:
        # The interpreter is ending. It starts no threads any more, and there is nobody to wait.
        return _contained(function)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not work.cancelled():
            work.exception()
        raise cancelled
    return work.result()


def _contained(function: Callable[[], T]) -> T:
    with Containment():
        return function()
