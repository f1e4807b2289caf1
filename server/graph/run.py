"""One request in a graph: a task for each node, connected by streams."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

from server.errors import NodeHungError
from server.graph.contract import Tag
from server.graph.node_run import NodeRun, OpenedNode, node_error
from server.graph.nodes.node_work import describe_coroutine
from server.graph.numbers import GraphNumbers
from server.graph.observing.observation import RUN_OBSERVER
from server.graph.queues.admission import Admission
from server.graph.stream import EndOfStream, InputStream, OutputStream

__all__ = ["GraphRun", "StreamLayout"]

logger = logging.getLogger(__name__)

# A cancelled node gets this long for its `finally` blocks. Then the run goes on without it: a node
# that ignores its cancellation must not delay a client or a shutdown.
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class StreamLayout:
    """The streams of a graph: their packet types, their capacity, and which are the borders.

    `request_packets` are the side packets that requests bring, by the name of the parameter.
    """

    packet_types: Mapping[str, type]
    capacity: int
    input_name: str
    output_name: str
    request_packets: Mapping[str, Tag[Any]] = field(default_factory=dict)


class GraphRun:
    """A run: `async with graph.start_run(packet) as run: async for packet in run: ...`.

    Leaving the context stops every node that still works and waits for its `finally` blocks. If a
    node fails, `async for` raises the node's own exception object. Entering it raises
    QueueFullError if a node cannot take the request.
    """

    def __init__(
        self,
        graph_name: str,
        nodes: Sequence[OpenedNode],
        layout: StreamLayout,
        packet: object,
        parameters: Mapping[str, Any],
        *,
        on_start: Callable[["GraphRun"], None],
        on_end: Callable[["GraphRun"], None],
        numbers: GraphNumbers,
        admission: Admission | None = None,
    ) -> None:
        self._graph_name = graph_name
        self._layout = layout
        self._packet = packet
        self._on_start = on_start
        self._on_end = on_end
        self._numbers = numbers
        self._nodes = [NodeRun(node, parameters) for node in nodes]
        self._started_s = 0.0
        self._given_admission = admission
        self._own_admission = Admission(nodes, (packet,))
        self._output = InputStream[Any](f"the output of graph {graph_name!r}", layout.capacity)
        self._error: BaseException | None = None
        self._num_active = 0
        self._all_done = asyncio.Event()

    async def __aenter__(self) -> "GraphRun":
        self._on_start(self)
        try:
            self._take_tickets()
        except BaseException:
            self._on_end(self)
            raise
        self._connect()
        self._num_active = len(self._nodes)
        self._started_s = perf_counter()
        observer = RUN_OBSERVER.get()
        for run in self._nodes:
            run.numbers = self._numbers.nodes.get(run.node.name, run.numbers)
            run.numbers.num_calls += 1
            run.numbers.num_running += 1
            name = f"{self._graph_name}/{run.node.name}"
            if observer is None:
                work = run.process()
            else:
                work = run.process_observed(observer, self._graph_name)
            run.task = asyncio.create_task(work, name=name)
            # A callback, because the coroutine of a task that is cancelled before its first step
            # never runs.
            run.task.add_done_callback(partial(self._finish_node, run))
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.stop()
        finally:
            self._output.close()
            self._own_admission.__exit__()
            self._on_end(self)
            self._break_cycles()

    def __aiter__(self) -> "GraphRun":
        return self

    async def __anext__(self) -> Any:
        try:
            if self._error is None:
                return await self._output.receive()
        except EndOfStream:
            # Nodes that do not lead to the output, such as a logger, must finish, too.
            await self._all_done.wait()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def stop(self, error: BaseException | None = None) -> None:
        """Stop every node and wait for it; `error` is what `async for` on the run then raises."""
        if error is not None and not self._all_done.is_set():
            self._fail(error)
        for run in self._nodes:
            run.stop()
        await self._join()

    def count_waiting_packets(self) -> Iterator[tuple[str, int]]:
        """The packets that wait for each reader, with the name of its stream."""
        for run in self._nodes:
            # In one call, for the loop may clear it meanwhile.
            for tag, stream in tuple(run.inputs.items()):
                yield run.node.inputs[tag], stream.num_waiting

    def give_up_hung(self, seconds: float, limit_s: float) -> None:
        """End the run with a NodeHungError if a node hangs; `seconds` as in `NodeRun.is_hung`."""
        for run in self._nodes:
            if not run.node.calculator.is_watched or not run.is_hung(seconds, limit_s):
                continue
            assert run.task is not None
            problem = run.node.work.note_hung(run.started_at, limit_s)
            where = describe_coroutine(run.task.get_coro())
            logger.error("graph %r: %s. It waits here:\n%s", self._graph_name, problem, where)
            self._fail(NodeHungError(problem))

    def _take_tickets(self) -> None:
        admission = self._given_admission or self._own_admission.__enter__()
        for run in self._nodes:
            run.ticket = admission.tickets.get(run.node.name)

    def _connect(self) -> None:
        """Make the streams of this run and put the packet into the first one."""
        layout = self._layout
        readers: dict[str, list[InputStream[Any]]] = {name: [] for name in layout.packet_types}
        for run in self._nodes:
            for tag, stream in run.node.inputs.items():
                label = f"node {run.node.name!r} input {tag!r}"
                run.inputs[tag] = InputStream[Any](label, layout.capacity)
                readers[stream].append(run.inputs[tag])
        readers[layout.output_name].append(self._output)
        for run in self._nodes:
            for tag, stream in run.node.outputs.items():
                run.outputs[tag] = OutputStream[Any](
                    f"node {run.node.name!r} output {tag!r}",
                    layout.packet_types[stream],
                    tuple(readers[stream]),
                    run.notice_closed_output,
                    self._numbers.streams.get(stream),
                )
                run.num_wanted_outputs += bool(readers[stream])
        for reader in readers[layout.input_name]:
            reader._put(self._packet)
            reader._end()

    def _finish_node(self, run: NodeRun, task: asyncio.Task[None]) -> None:
        self._num_active -= 1
        error = node_error(task)
        self._count_end(run, error)
        if not run.is_stopping and not isinstance(error, NodeHungError):
            run.node.work.note_end(run.started_at)
        if isinstance(error, asyncio.CancelledError):
            if not run.is_stopping:
                name = run.node.name
                self._fail(RuntimeError(f"node {name!r} was cancelled, and not by its run"))
        elif error is not None and run.is_stopping:
            logger.warning(
                "graph %r: node %r raised while it was stopped",
                self._graph_name,
                run.node.name,
                exc_info=error,
            )
        elif error is not None:
            self._fail(error)
        for output in run.outputs.values():
            output._end()
        for stream in run.inputs.values():
            stream.close()
        if self._num_active == 0:
            self._all_done.set()

    def _count_end(self, run: NodeRun, error: BaseException | None) -> None:
        numbers = run.numbers
        numbers.num_running -= 1
        numbers.seconds += perf_counter() - self._started_s
        for stream in run.inputs.values():
            numbers.waiting_s += stream.waited_s
        if error is not None and not run.is_stopping:
            numbers.num_errors += 1

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        for run in self._nodes:
            run.stop()
        self._output._end()

    def _break_cycles(self) -> None:
        """Let the nodes go now: else an unloaded model lives until the next full collection."""
        if self._all_done.is_set():
            for run in self._nodes:
                run.inputs.clear()
                run.outputs.clear()
                run.task = None

    async def _join(self) -> None:
        """Wait for all nodes for a limited time, even if this task is cancelled meanwhile."""
        deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
        cancelled: asyncio.CancelledError | None = None
        while not self._all_done.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._all_done.wait()
            except asyncio.CancelledError as error:
                cancelled = error
            except TimeoutError:
                self._log_survivors()
                break
        if cancelled is not None:
            raise cancelled

    def _log_survivors(self) -> None:
        for run in self._nodes:
            if run.task is not None and not run.task.done():
                logger.error(
                    "graph %r: node %r still works %.0f s after it was cancelled; the run ends "
                    "without it",
                    self._graph_name,
                    run.node.name,
                    STOP_TIMEOUT_S,
                )
