"""Run one calculator without a graph: packets in, packets out."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from server.graph.calculator import Calculator
from server.graph.config import NodeConfig, Port
from server.graph.context import OpenContext
from server.graph.contract import NodePorts, Tag
from server.graph.node_run import NodeRun, OpenedNode, node_error
from server.graph.services import Services
from server.graph.stream import InputStream, OutputStream

__all__ = ["CalculatorRunner"]

# Room for all packets of a test.
CAPACITY = 1_000_000


class CalculatorRunner:
    """Opens a calculator, runs requests through it, closes it.

        runner = CalculatorRunner(Detokenizer, side_packets={"TOKENIZER": tokenizer})
        runner.open()
        outputs = await runner.run({"TOKENS": [chunk, chunk]})
        assert outputs["TEXT"] == [...]
        runner.close()

    `options` is an instance of the options dataclass; None takes its defaults. A port is named by
    its Tag or the tag's name. `node` has the streams of the node, for calculators whose ports
    depend on them.
    """

    def __init__(
        self,
        calculator_class: type[Calculator[Any]],
        options: object = None,
        side_packets: Mapping[Any, Any] | None = None,
        base_path: Path | None = None,
        node_name: str = "node",
        services: Services | None = None,
        node: NodeConfig | None = None,
    ) -> None:
        contract = calculator_class.contract
        if node is not None:
            contract = calculator_class.contract_for(node)
        if options is None and calculator_class.options_class is not None:
            options = calculator_class.options_class()
        self.calculator = calculator_class()
        self.calculator.options = options
        self.node_name = node_name
        self.output_side_packets: dict[str, Any] = {}
        self._contract = contract
        self._side_packets = _by_name(side_packets or {}, contract.input_side_packets)
        self._base_path = (base_path or Path.cwd()).resolve()
        self._services = services
        self._ports = NodePorts() if node is None else _ports_of(node)
        _check_complete(contract.input_side_packets, self._side_packets)

    def open(self) -> None:
        """Open the calculator; then `output_side_packets` has the side packets that it set."""
        cc = OpenContext(
            self.node_name,
            self._contract,
            self._side_packets,
            self._base_path,
            self._services,
            self._ports,
        )
        self.calculator.open(cc)
        self.output_side_packets = cc.output_side_packets
        _check_complete(self._contract.output_side_packets, self.output_side_packets)

    async def run(
        self,
        inputs: Mapping[Any, Iterable[Any]],
        *,
        stop_after: Mapping[Any, int] | None = None,
    ) -> dict[str, list[Any]]:
        """Run one request: the packets of each input by tag; returns those of each output by tag.

        `stop_after` closes an output after that many packets, as a client that leaves does. An
        exception of `process` is raised as it is, and so is one of `admit`, which gets the packets
        of the first input.
        """
        packets = _by_name(inputs, self._contract.inputs)
        limits = _by_name(stop_after or {}, self._contract.outputs)
        node = OpenedNode(
            self.node_name, self.calculator, self._contract, {}, {}, self._side_packets
        )
        run = NodeRun(node)
        first = self._contract.inputs[0].name if self._contract.inputs else ""
        run.ticket = self.calculator.admit(list(packets.get(first, ())))
        for tag in self._contract.inputs:
            if tag.name in packets or not tag.optional:
                run.inputs[tag.name] = self._filled(tag, packets.get(tag.name, ()))
        readers: dict[str, InputStream[Any]] = {}
        for tag in self._contract.outputs:
            label = f"node {self.node_name!r} output {tag.name!r}"
            readers[tag.name] = InputStream[Any](label, 1)
            run.outputs[tag.name] = OutputStream[Any](
                label, tag.type, (readers[tag.name],), run.notice_closed_output
            )
        run.num_wanted_outputs = len(readers)
        collecting = asyncio.gather(
            *(_collect(reader, limits.get(name)) for name, reader in readers.items())
        )
        run.task = asyncio.create_task(self.calculator.process(run.context()))
        run.task.add_done_callback(lambda _: _end_all(run.outputs.values()))
        try:
            collected = await collecting
            await asyncio.wait([run.task])
        finally:
            run.stop()
            if run.ticket is not None:
                run.ticket.close()
        error = node_error(run.task)
        if error is not None and not (run.is_stopping and run.task.cancelled()):
            raise error
        return dict(zip(readers, collected, strict=True))

    def close(self) -> None:
        """Close the calculator."""
        self.calculator.close()

    def _filled(self, tag: Tag[Any], packets: Iterable[Any]) -> InputStream[Any]:
        stream = InputStream[Any](f"node {self.node_name!r} input {tag.name!r}", CAPACITY)
        for packet in packets:
            assert isinstance(packet, tag.type), (
                f"input {tag.name!r} takes {tag.type.__name__}, not {type(packet).__name__}"
            )
            stream._put(packet)
        stream._end()
        return stream


def _ports_of(node: NodeConfig) -> NodePorts:
    inputs, outputs = (
        {port.tag: port.name for port in map(Port.parse, texts)}
        for texts in (node.input_streams, node.output_streams)
    )
    return NodePorts(inputs, outputs)


def _end_all(streams: Iterable[OutputStream[Any]]) -> None:
    for stream in streams:
        stream._end()


async def _collect(reader: InputStream[Any], limit: int | None) -> list[Any]:
    packets: list[Any] = []
    while limit is None or len(packets) < limit:
        try:
            packets.append(await reader.__anext__())
        except StopAsyncIteration:
            break
    else:
        reader.close()
    return packets


def _by_name(values: Mapping[Any, Any], tags: Iterable[Tag[Any]]) -> dict[str, Any]:
    named = {key.name if isinstance(key, Tag) else key: value for key, value in values.items()}
    unknown = set(named) - {tag.name for tag in tags}
    assert not unknown, f"the contract does not name {sorted(unknown)}"
    return named


def _check_complete(tags: Iterable[Tag[Any]], values: Mapping[str, Any]) -> None:
    for tag in tags:
        assert tag.optional or tag.name in values, f"side packet {tag.name!r} is missing"
        if tag.name in values:
            value = values[tag.name]
            assert isinstance(value, tag.type), (
                f"side packet {tag.name!r} is {tag.type.__name__}, not {type(value).__name__}"
            )
