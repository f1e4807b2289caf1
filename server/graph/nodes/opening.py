"""Opening and closing the nodes of a graph, in worker threads."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from server.errors import CalculatorOpenError, ServingError
from server.graph.calculator import Calculator
from server.graph.containment import Containment
from server.graph.context import OpenContext
from server.graph.node_run import OpenedNode
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
        if self.services is not None and self.services.on_open is not None:
            self.services.on_open(f"node {node.name!r} ({cls.__name__})")
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
    """Run in a thread, to the end: a thread cannot be stopped, so one who is cancelled waits.

    The thread has the name of the task. It is of no pool, which what hangs would empty, and a
    daemon, for which the end of the process does not wait.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    task = asyncio.current_task()
    work: asyncio.Future[T] = loop.create_future()
    functions = [function]
    target = partial(context.run, _run_for, work, functions)
    name = None if task is None else task.get_name()
    try:
        threading.Thread(target=target, name=name, daemon=True).start()
    except RuntimeError:
        if threading.main_thread().is_alive():
            raise
        # The interpreter is ending. It starts no threads any more, and there is nobody to wait.
        return _contained(function)
    del function
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


def _run_for(work: "asyncio.Future[T]", functions: list[Callable[[], T]]) -> None:
    """Run the only one of these functions, and settle `work`.

    On a busy machine the thread may end long after that. A node that it still held would keep its
    memory, and be missed in the measured memory of the next model.
    """
    try:
        result = _contained(functions.pop())
    except Exception as error:
        finish = partial(_finish, work, work.set_exception, error)
    else:
        finish = partial(_finish, work, work.set_result, result)
    # The loop may have ended, and with it whoever would care.
    with suppress(RuntimeError):
        work.get_loop().call_soon_threadsafe(finish)


def _finish(work: "asyncio.Future[Any]", settle: Callable[[Any], None], outcome: object) -> None:
    if not work.done():
        settle(outcome)


def _contained(function: Callable[[], T]) -> T:
    with Containment():
        return function()
