"""Small calculators for the graph tests."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from server.graph import (
    Calculator,
    Contract,
    Graph,
    GraphConfig,
    NodeConfig,
    OpenContext,
    ProcessContext,
    Subgraph,
    Tag,
    UInt64,
)

IN = Tag("IN", str)
OUT = Tag("OUT", str)
SECOND = Tag("SECOND", str, optional=True)
MODEL = Tag("MODEL", str)


class Mode(Enum):
    LM = 0
    LM_CB = 2


@dataclass(frozen=True)
class Eviction:
    start_size: int
    recent_size: int
    max_cache_size: UInt64
    apply_rotation: bool = False


@dataclass(frozen=True)
class LlmOptions:
    """Some of OVMS's LLMCalculatorOptions."""

    PROTO_NAME: ClassVar[str] = "mediapipe.LLMCalculatorOptions"

    models_path: str
    plugin_config: str = ""
    enable_prefix_caching: bool = False
    dynamic_split_fuse: bool = True
    cache_size: UInt64 = 0
    max_num_seqs: UInt64 = 256
    device: str | None = None
    pipeline_type: Mode = Mode.LM
    cache_eviction_config: Eviction | None = None
    stop: tuple[str, ...] = ()


class Llm(Calculator[LlmOptions]):
    """Stands for OVMS's HttpLLMCalculator."""

    contract = Contract(
        inputs=(Tag("HTTP_REQUEST_PAYLOAD", str),),
        outputs=(Tag("HTTP_RESPONSE_PAYLOAD", str),),
        input_side_packets=(
            Tag("LLM_NODE_RESOURCES", object, optional=True),
            Tag("LLM_NODE_EXECUTION_CONTEXTS", object, optional=True),
        ),
    )

    async def process(self, cc: ProcessContext) -> None:
        output = cc.output(self.contract.outputs[0])
        async for packet in cc.input(self.contract.inputs[0]):
            await output.send(packet + self.options.models_path)


class Words(Calculator):
    """Splits text into words."""

    contract = Contract(inputs=(IN,), outputs=(OUT,))

    async def process(self, cc: ProcessContext) -> None:
        async for text in cc.input(IN):
            for word in text.split():
                await cc.output(OUT).send(word)


class Upper(Calculator):
    """Turns text into capitals."""

    contract = Contract(inputs=(IN,), outputs=(OUT, SECOND))

    async def process(self, cc: ProcessContext) -> None:
        async for text in cc.input(IN):
            await cc.output(OUT).send(text.upper())
            await cc.output(SECOND).send(text)


class Lengths(Calculator):
    """Text to its length."""

    contract = Contract(inputs=(IN,), outputs=(Tag("OUT", int),))

    async def process(self, cc: ProcessContext) -> None:
        async for text in cc.input(IN):
            await cc.output(self.contract.outputs[0]).send(len(text))


class Anything(Calculator):
    """Passes packets of any type on."""

    contract = Contract(inputs=(Tag("IN", object),), outputs=(Tag("OUT", object),))

    async def process(self, cc: ProcessContext) -> None:
        async for packet in cc.input(self.contract.inputs[0]):
            await cc.output(self.contract.outputs[0]).send(packet)


class Join(Calculator):
    """Reads two streams, one after the other."""

    contract = Contract(inputs=(IN, SECOND), outputs=(OUT,))

    async def process(self, cc: ProcessContext) -> None:
        for tag in (IN, SECOND):
            async for text in cc.input(tag):
                await cc.output(OUT).send(f"{tag.name}={text}")


class Counter(Calculator):
    """Counts for ever; `left` are the runs that were stopped."""

    contract = Contract(inputs=(IN,), outputs=(OUT,))
    left: ClassVar[list[str]] = []
    started: ClassVar[list[str]] = []

    async def process(self, cc: ProcessContext) -> None:
        name = await cc.input(IN).receive()
        self.started.append(name)
        number = 0
        try:
            while True:
                await cc.output(OUT).send(f"{name}{number}")
                number += 1
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            self.left.append(name)


class Waiter(Calculator):
    """Sends once and then waits for ever."""

    contract = Contract(inputs=(IN,), outputs=(OUT,))
    left: ClassVar[list[str]] = []

    async def process(self, cc: ProcessContext) -> None:
        name = await cc.input(IN).receive()
        await cc.output(OUT).send(name)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.left.append(name)


class Maker(Calculator):
    """Makes a side packet."""

    contract = Contract(inputs=(IN,), outputs=(OUT,), output_side_packets=(MODEL,))

    def open(self, cc: OpenContext) -> None:
        cc.set_side_packet(MODEL, f"model of {cc.node_name}")

    async def process(self, cc: ProcessContext) -> None:
        async for text in cc.input(IN):
            await cc.output(OUT).send(text)


class Taker(Calculator):
    """Needs a side packet."""

    contract = Contract(inputs=(IN,), outputs=(OUT,), input_side_packets=(MODEL,))

    def open(self, cc: OpenContext) -> None:
        self.model = cc.side_packet(MODEL)

    async def process(self, cc: ProcessContext) -> None:
        async for text in cc.input(IN):
            await cc.output(OUT).send(f"{text} by {cc.side_packet(MODEL)} = {self.model}")


@dataclass(frozen=True)
class TwiceOptions:
    calculator: str = "support.graph_fakes:Upper"


class Twice(Subgraph[TwiceOptions]):
    """Words, then a calculator of choice."""

    contract = Contract(
        inputs=(IN,),
        outputs=(OUT, SECOND),
        input_side_packets=(Tag("UNUSED", object, optional=True),),
    )

    def expand(self, node_name: str, options: TwiceOptions) -> GraphConfig:
        return GraphConfig(
            input_streams=("IN:text",),
            output_streams=("OUT:loud", "SECOND:quiet"),
            nodes=(
                NodeConfig(Words, input_streams=("IN:text",), output_streams=("OUT:words",)),
                NodeConfig(
                    options.calculator,
                    name="last",
                    input_streams=("IN:words",),
                    output_streams=("OUT:loud", "SECOND:quiet"),
                ),
            ),
        )


class Endless(Subgraph):
    """Contains itself."""

    contract = Contract(inputs=(IN,), outputs=(OUT,))

    def expand(self, node_name: str, options: Any) -> GraphConfig:
        node = NodeConfig(Endless, input_streams=("IN:a",), output_streams=("OUT:b",))
        return GraphConfig(nodes=(node,), input_streams=("IN:a",), output_streams=("OUT:b",))


NotACalculator = field


def node(calculator: Any, source: str, target: str, **fields: Any) -> NodeConfig:
    return NodeConfig(
        calculator, input_streams=(f"IN:{source}",), output_streams=(f"OUT:{target}",), **fields
    )


def chain(*calculators: Any, **fields: Any) -> GraphConfig:
    """One node after the other, joined by IN and OUT."""
    nodes = tuple(node(cls, f"s{i}", f"s{i + 1}") for i, cls in enumerate(calculators))
    return GraphConfig(
        nodes=nodes,
        input_streams=("IN:s0",),
        output_streams=(f"OUT:s{len(calculators)}",),
        **fields,
    )


async def load(config: GraphConfig) -> Graph:
    return await Graph.load(config, Path(), "g")


async def run(graph: Graph, packet: object) -> Sequence[Any]:
    async with graph.start_run(packet) as running:
        return [out async for out in running]
