from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, OUT, chain, node

from server.errors import GraphValidationError
from server.graph import (
    Contract,
    GraphConfig,
    NodeConfig,
    Tag,
    ValidatedGraph,
    parse_graph_config,
    validate,
)


class Animal: ...


class Dog(Animal): ...


class MakesDog(fakes.Upper):
    contract = Contract(inputs=(IN,), outputs=(Tag("OUT", Dog),))


class MakesAnimal(fakes.Upper):
    contract = Contract(inputs=(IN,), outputs=(Tag("OUT", Animal),))


class TakesDog(fakes.Upper):
    contract = Contract(inputs=(Tag("IN", Dog),), outputs=(OUT,))


class TakesAnimal(fakes.Upper):
    contract = Contract(inputs=(Tag("IN", Animal),), outputs=(OUT,))


def problems(config: GraphConfig | str) -> tuple[str, ...]:
    if isinstance(config, str):
        config = parse_graph_config(config, "g")
    with pytest.raises(GraphValidationError) as caught:
        validate(config, Path())
    return caught.value.problems


def graph(*nodes: NodeConfig, source: str = "a", target: str = "z") -> GraphConfig:
    return GraphConfig(nodes, (f"IN:{source}",), (f"OUT:{target}",))


def check(config: GraphConfig) -> ValidatedGraph:
    return validate(config, Path())


def test_no_nodes() -> None:
    assert "the graph has no node; it needs at least one `node { ... }`" in problems("")


def test_borders_are_one_each() -> None:
    config = replace(chain(fakes.Upper), input_streams=(), output_streams=("OUT:s1", "X:s0"))
    assert problems(config)[:2] == (
        "the graph needs exactly one input_stream of its own; found none",
        "the graph needs exactly one output_stream of its own; found 'OUT:s1', 'X:s0'",
    )


def test_all_problems_at_once_with_their_places() -> None:
    text = """
input_stream: "IN:a"
output_stream: "OUT:d"
node { calculator: "support.graph_fakes:Uper" input_stream: "IN:a" output_stream: "OUT:b" }
node { calculator: "support.graph_fakes:Words" name: "w" input_stream: "INN:b"
       output_stream: "OUT:c" }
node { calculator: "support.graph_fakes:Lengths" input_stream: "IN:c" output_stream: "OUT:d"
       node_options: { [type.googleapis.com/X] {} } }
"""
    found = problems(text)
    assert len(found) == 4
    assert found[0].startswith(
        "line 4, column 1: node 'Uper': calculator 'support.graph_fakes:Uper'"
    )
    assert found[1] == (
        "line 5, column 1: node 'w': input_stream 'INN:b': unknown tag 'INN'; did you mean 'IN'?"
    )
    assert found[2] == "line 5, column 1: node 'w': input_stream 'IN' is missing; it carries str"
    assert found[3] == "line 7, column 1: node 'Lengths': Lengths takes no options"


def test_the_message_holds_every_problem() -> None:
    with pytest.raises(GraphValidationError) as caught:
        validate(GraphConfig((), source_name="graph.pbtxt"), Path())
    assert str(caught.value).startswith("graph.pbtxt: 3 problem(s)\n  - the graph has no node")


def test_an_unknown_calculator_is_the_only_problem_of_its_neighbours() -> None:
    (problem,) = problems(chain(fakes.Words, "NoSuch", fakes.Lengths))
    assert "no installed package registers calculator 'NoSuch'" in problem


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"output_streams": ()}, "output_stream 'OUT' is missing; it carries str"),
        ({"output_streams": ("OUT:b", "OUT:c")}, "tag 'OUT' is already connected to 'b'"),
        ({"output_streams": ("OUT:1:b",)}, "index 1; tag 'OUT' takes one, with index 0"),
        ({"output_streams": ("b",)}, "unknown tag ''; possible: 'OUT', 'SECOND'"),
        ({"output_streams": ("OUT b",)}, "'OUT b' is not a port"),
        ({"input_streams": ("IN:nobody",)}, "reads stream 'nobody', which nothing produces"),
        ({"input_side_packets": ("X:x",)}, "input_side_packet 'X:x': unknown tag 'X'; there are"),
        ({"output_side_packets": ("X:x",)}, "output_side_packet 'X:x': unknown tag 'X'"),
        ({"back_edges": ("LOOP:0",)}, "input_stream_info names 'LOOP:0', which is no input_stream"),
        ({"options": 3}, "Upper takes no options"),
    ],
)
def test_ports(fields: dict[str, Any], problem: str) -> None:
    upper = replace(node(fakes.Upper, "a", "b"), **fields)
    found = problems(graph(upper, node(fakes.Upper, "b", "z")))
    assert any(problem in line for line in found), found


def test_streams_with_two_producers() -> None:
    found = problems(graph(node(fakes.Upper, "a", "z"), node(fakes.Words, "a", "z")))
    assert found == (
        "stream 'z' has 2 producers: node 'Upper', output 'OUT'; node 'Words', output 'OUT'",
    )
    (problem,) = problems(graph(node(fakes.Upper, "a", "a"), target="a"))[:1]
    assert "stream 'a' has 2 producers: the input_stream of the graph; node 'Upper'" in problem


def test_borders_that_lead_nowhere() -> None:
    assert problems(graph(node(fakes.Upper, "text", "loud"), source="txt", target="lout")) == (
        "node 'Upper': input 'IN' reads stream 'text', which nothing produces; did you mean 'txt'?",
        "output_stream 'lout' of the graph is produced by no node; did you mean 'loud'?",
        "input_stream 'txt' of the graph is read by no node; did you mean 'text'?",
    )


def test_an_output_that_nobody_reads_is_fine() -> None:
    check(graph(node(fakes.Words, "a", "z"), node(fakes.Upper, "a", "unread")))


def test_a_cycle_is_printed_as_a_path() -> None:
    join = NodeConfig(fakes.Join, "join", ("IN:a", "SECOND:d"), ("OUT:b",))
    (problem,) = problems(
        graph(join, node(fakes.Upper, "b", "c", name="up"), node(fakes.Words, "c", "d"), target="d")
    )
    assert problem.startswith("streams go round in a cycle: join -> up -> Words -> join;")
    assert "back_edge: true" in problem


def test_a_cycle_of_side_packets() -> None:
    first, second = Tag("FIRST", str), Tag("SECOND", str)

    class A(fakes.Upper):
        contract = Contract((IN,), (OUT,), (second,), (first,))

    class B(fakes.Upper):
        contract = Contract((IN,), (OUT,), (first,), (second,))

    a = NodeConfig(A, "A", ("IN:a",), ("OUT:b",), ("SECOND:y",), ("FIRST:x",))
    b = NodeConfig(B, "B", ("IN:b",), ("OUT:z",), ("FIRST:x",), ("SECOND:y",))
    assert problems(graph(a, b)) == ("side packets go round in a cycle: A -> B -> A",) or problems(
        graph(a, b)
    ) == ("side packets go round in a cycle: B -> A -> B",)


def test_side_packets() -> None:
    taker = node(fakes.Taker, "a", "b", input_side_packets=("MODEL:modle",))
    maker = node(fakes.Maker, "b", "z", output_side_packets=("MODEL:model",))
    assert problems(graph(taker, maker)) == (
        "node 'Taker': side packet 'MODEL' is 'modle', which no node produces; "
        "did you mean 'model'?",
    )
    other = node(fakes.Maker, "a", "b", name="m", output_side_packets=("MODEL:model",))
    assert problems(graph(other, maker)) == (
        "side packet 'model' has 2 producers: node 'm', output side packet 'MODEL'; "
        "node 'Maker', output side packet 'MODEL'",
    )

    class TakesNumber(fakes.Taker):
        contract = Contract((IN,), (OUT,), (Tag("MODEL", int),))

    number = node(TakesNumber, "a", "b", input_side_packets=("MODEL:model",))
    assert problems(graph(number, maker)) == (
        "node 'TakesNumber': side packet 'MODEL' must be int, but node 'Maker', output side packet "
        "'MODEL' makes str",
    )


def test_types_on_edges() -> None:
    check(chain(MakesDog, TakesDog))
    check(chain(MakesDog, TakesAnimal))
    assert problems(chain(MakesAnimal, TakesDog)) == (
        "node 'TakesDog': input 'IN' takes Dog, but node 'MakesAnimal': output 'OUT' "
        "produces Animal",
    )


def test_every_reader_of_a_stream_is_checked() -> None:
    nodes = (
        node(fakes.Lengths, "a", "b"),
        node(fakes.Words, "b", "z"),
        node(fakes.Upper, "b", "other"),
    )
    assert [problem.split(" takes")[0] for problem in problems(graph(*nodes))] == [
        "node 'Words': input 'IN'",
        "node 'Upper': input 'IN'",
    ]


def test_the_input_takes_the_narrowest_type_of_its_readers() -> None:
    nodes = (node(TakesAnimal, "a", "b"), node(TakesDog, "a", "z"))
    assert check(graph(*nodes)).input == Tag("IN", Dog)
    (problem,) = problems(graph(*nodes, node(fakes.Upper, "a", "c")))
    assert "takes" in problem


def test_types_go_through_nodes_that_take_any() -> None:
    validated = check(chain(fakes.Anything, fakes.Lengths, fakes.Anything))
    assert (validated.input.type, validated.output.type) == (str, int)
    (problem,) = problems(chain(fakes.Lengths, fakes.Anything, fakes.Words))
    assert problem == (
        "node 'Words': input 'IN' takes str, but node 'Lengths': output 'OUT' produces int"
    )


def test_what_makes_any_type_does_not_fit_a_certain_one() -> None:
    class Mixes(fakes.Join):
        contract = Contract((Tag("IN", object), Tag("SECOND", object)), (Tag("OUT", object),))

    mixes = NodeConfig(Mixes, "m", ("IN:a", "SECOND:a"), ("OUT:b",))
    (problem,) = problems(graph(mixes, node(fakes.Words, "b", "z")))
    assert problem.endswith("takes str, but node 'm': output 'OUT' produces object")


def test_names() -> None:
    config = graph(node(fakes.Upper, "a", "b", name="x"), node(fakes.Upper, "b", "z", name="x"))
    assert problems(config)[0] == "2 nodes are named 'x'; a name is used once"
    validated = check(chain(fakes.Upper, fakes.Upper, "support.graph_fakes:Upper"))
    assert [n.name for n in validated.nodes] == ["Upper", "Upper_2", "Upper_3"]


def test_a_loop_of_ovms_is_left_out() -> None:
    looped = NodeConfig(
        fakes.Upper,
        input_streams=("IN:a", "LOOPBACK:loop"),
        output_streams=("OUT:z", "LOOPBACK:loop"),
        back_edges=("LOOPBACK:0",),
    )
    (checked,) = check(graph(looped)).nodes
    assert checked.ports.inputs == {"IN": "a"}
    assert checked.ports.outputs == {"OUT": "z"}
    assert check(graph(replace(looped, back_edges=("LOOPBACK",))))
    unmarked = problems(graph(replace(looped, back_edges=())))
    assert "unknown tag 'LOOPBACK'" in unmarked[0]


def test_a_back_edge_that_nobody_feeds() -> None:
    looped = NodeConfig(
        fakes.Upper,
        "u",
        ("IN:a", "LOOPBACK:lop"),
        ("OUT:z", "LOOPBACK:loop"),
        (),
        (),
        ("LOOPBACK",),
    )
    assert problems(graph(looped))[0] == (
        "a back edge reads stream 'lop', which no node produces; did you mean 'loop'?"
    )


def test_a_back_edge_beside_a_real_reader() -> None:
    upper = NodeConfig(
        fakes.Upper,
        input_streams=("IN:a", "LOOPBACK:quiet"),
        output_streams=("OUT:b", "SECOND:quiet"),
        back_edges=("LOOPBACK:0",),
    )
    join = NodeConfig(fakes.Join, "j", ("IN:b", "SECOND:quiet"), ("OUT:z",))
    first, _ = check(graph(upper, join)).nodes
    assert first.ports.outputs == {"OUT": "b", "SECOND": "quiet"}


@pytest.mark.parametrize(("size", "capacity"), [(0, 16), (1, 1), (5, 5), (-1, 1_000_000)])
def test_max_queue_size(size: int, capacity: int) -> None:
    assert check(chain(fakes.Upper, max_queue_size=size)).layout.capacity == capacity


def test_a_queue_size_that_is_none() -> None:
    (problem,) = problems(chain(fakes.Upper, max_queue_size=-2))
    assert problem.startswith("max_queue_size is -2; it must be at least 1")


def test_options_of_the_wrong_class() -> None:
    @dataclass(frozen=True)
    class Other:
        x: int = 0

    llm = NodeConfig(
        fakes.Llm, "l", ("HTTP_REQUEST_PAYLOAD:a",), ("HTTP_RESPONSE_PAYLOAD:z",), options=Other()
    )
    assert problems(graph(llm)) == ("node 'l': options are a Other; it takes LlmOptions",)
    assert problems(graph(replace(llm, options=None))) == (
        "node 'l': mediapipe.LLMCalculatorOptions.models_path must be set",
    )


def test_options_for_every_node_that_has_them() -> None:
    llm = NodeConfig(fakes.Llm, "l", ("HTTP_REQUEST_PAYLOAD:a",), ("HTTP_RESPONSE_PAYLOAD:z",))
    config = replace(graph(llm), options={"models_path": "m", "cache_size": 3})
    assert check(config).nodes[0].options == fakes.LlmOptions("m", cache_size=3)
    assert problems(replace(config, options={"models_path": "m", "cash_size": 3})) == (
        "no node has an option 'cash_size'; did you mean 'cache_size'?",
    )
