"""Side packets that come with each request."""

from pathlib import Path

import pytest

from server.errors import GraphValidationError, InvalidRequestError
from server.graph import Calculator, Contract, Graph, GraphConfig, NodeConfig, ProcessContext, Tag

IN, OUT = Tag("IN", str), Tag("OUT", str)
TIMES = Tag("TIMES", int)
SEPARATOR = Tag("SEPARATOR", str, optional=True)


class Repeat(Calculator):
    """Repeats a text as often as the request says."""

    contract = Contract(inputs=(IN,), outputs=(OUT,), input_side_packets=(TIMES, SEPARATOR))

    async def process(self, cc: ProcessContext) -> None:
        text = await cc.receive(IN)
        separator = cc.side_packet(SEPARATOR) if cc.has_side_packet(SEPARATOR) else ""
        await cc.send(OUT, separator.join([text] * cc.side_packet(TIMES)))


def config(border: tuple[str, ...] = ("TIMES:times", "separator")) -> GraphConfig:
    node = NodeConfig(
        Repeat,
        name="repeat",
        input_streams=("IN:in",),
        output_streams=("OUT:out",),
        input_side_packets=("TIMES:times", "SEPARATOR:separator"),
    )
    return GraphConfig(
        nodes=(node,),
        input_streams=("IN:in",),
        output_streams=("OUT:out",),
        input_side_packets=border,
    )


async def ask(graph: Graph, **parameters: object) -> str:
    async with graph.start_run("a", parameters) as run:
        return str(await anext(run))


async def test_each_request_has_its_own() -> None:
    graph = await Graph.load(config(), Path(), "g")
    assert await ask(graph, times=3) == "aaa"
    assert await ask(graph, times=2, separator="-", other=1.5) == "a-a"
    for parameters, text in (
        ({}, "the parameter 'times' is missing; it is a int"),
        ({"times": "3"}, "the parameter 'times' is a str; it must be a int"),
        ({"times": True}, "the parameter 'times' is a bool; it must be a int"),
        ({"times": 1, "separator": 2}, "the parameter 'separator' is a int; it must be a str"),
    ):
        with pytest.raises(InvalidRequestError, match=text):
            await ask(graph, **parameters)
    await graph.close()


async def test_the_graph_must_list_them() -> None:
    with pytest.raises(GraphValidationError, match="'times', which no node produces"):
        await Graph.load(config(border=("separator",)), Path(), "g")
    with pytest.raises(GraphValidationError, match="input_side_packet of the graph: 'a b'"):
        await Graph.load(config(border=("TIMES:times", "a b")), Path(), "g")
