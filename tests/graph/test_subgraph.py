from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, OUT, TwiceOptions

from server.errors import GraphValidationError
from server.graph import Contract, GraphConfig, NodeConfig, Subgraph, Tag, validate
from server.graph.config import Position

TWICE = NodeConfig(fakes.Twice, "twice", ("IN:a",), ("OUT:z",), position=Position(3, 1))


def graph(*nodes: NodeConfig) -> GraphConfig:
    return GraphConfig(nodes, ("IN:a",), ("OUT:z",))


def problems(*nodes: NodeConfig) -> tuple[str, ...]:
    with pytest.raises(GraphValidationError) as caught:
        validate(graph(*nodes), Path())
    return caught.value.problems


def test_nodes_are_named_after_the_subgraph_and_joined_to_its_streams() -> None:
    words, last = validate(graph(TWICE), Path()).nodes
    assert words.name == "twice__Words_1"
    assert last.name == "twice__last"
    assert words.ports.inputs == {"IN": "a"}
    assert last.ports.outputs["OUT"] == "z"
    assert last.ports.inputs["IN"] == words.ports.outputs["OUT"] != "words"


def test_two_of_a_kind_do_not_meet() -> None:
    first = replace(TWICE, name="first", output_streams=("OUT:b", "SECOND:q"))
    second = replace(TWICE, name="second", input_streams=("IN:b",))
    validated = validate(graph(first, second), Path())
    assert len(validated.nodes) == 4
    assert validated.nodes[1].ports.outputs == {"OUT": "b", "SECOND": "q"}


def test_subgraphs_in_subgraphs() -> None:
    outer = replace(TWICE, options=TwiceOptions(calculator="support.graph_fakes:Maze"))

    class Maze(fakes.Twice):
        """Another class, so that the subgraph does not contain itself."""

    fakes.Maze = Maze  # type: ignore[attr-defined]  # found by its name
    try:
        names = [node.name for node in validate(graph(outer), Path()).nodes]
    finally:
        del fakes.Maze  # type: ignore[attr-defined]
    assert names == ["twice__Words_1", "twice__last__Words_1", "twice__last__last"]


def test_a_subgraph_that_contains_itself() -> None:
    (problem,) = problems(NodeConfig(fakes.Endless, "e", ("IN:a",), ("OUT:z",)))
    assert problem.endswith("subgraphs contain each other: Endless -> Endless")


def test_problems_inside_have_the_place_of_the_node() -> None:
    (problem,) = problems(replace(TWICE, options=TwiceOptions(calculator="NoSuch")))
    assert problem.startswith("line 3, column 1: node 'twice__last': no installed package")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ValueError("pipeline_type LM is not supported"), "Bad: pipeline_type LM is not supported"),
        (KeyError("x"), "Bad.expand failed: KeyError: 'x'"),
    ],
)
def test_an_expansion_that_fails(error: Exception, problem: str) -> None:
    class Bad(fakes.Twice):
        def expand(self, node_name: str, options: Any) -> GraphConfig:
            raise error

    (found,) = problems(replace(TWICE, calculator=Bad))
    assert found == f"line 3, column 1: node 'twice': {problem}"


def test_an_expansion_that_does_not_fit_its_contract() -> None:
    class Bad(fakes.Twice):
        contract = Contract(inputs=(IN,), outputs=(OUT,))

    (found,) = problems(replace(TWICE, calculator=Bad))
    assert "expands to a graph with the port 'SECOND:quiet' that its contract" in found

    class NoPort(fakes.Twice):
        def expand(self, node_name: str, options: Any) -> GraphConfig:
            return GraphConfig((), input_streams=("a b",))

    (found,) = problems(replace(TWICE, calculator=NoPort))
    assert "'a b' is not a port" in found


def test_an_input_that_leads_nowhere_is_left_out_inside() -> None:
    second = Tag("SECOND", str, optional=True)

    class Joined(Subgraph):
        contract = Contract(inputs=(IN, second), outputs=(OUT,))

        def expand(self, node_name: str, options: Any) -> GraphConfig:
            node = NodeConfig(fakes.Join, "j", ("IN:x", "SECOND:y"), ("OUT:out",))
            return GraphConfig((node,), ("IN:x", "SECOND:y"), ("OUT:out",))

    (node,) = validate(graph(replace(TWICE, calculator=Joined)), Path()).nodes
    assert node.ports.inputs == {"IN": "a"}


def test_a_subgraph_without_expand() -> None:
    class Empty(Subgraph):
        contract = Contract(inputs=(IN,), outputs=(OUT,))

    (problem,) = problems(replace(TWICE, calculator=Empty))
    assert "NotImplementedError: Empty has no expand()" in problem
