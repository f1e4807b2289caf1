"""Checks that a graph can work, before any node is opened, and reports every problem at once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from server.errors import GraphValidationError, ServingError
from server.graph.calculator import Calculator
from server.graph.config import GraphConfig, NodeConfig, Port
from server.graph.contract import Contract, NodePorts, Tag
from server.graph.plugins import UnknownPluginError, close_names
from server.graph.registry import NodeClass, checked_class, resolve_calculator
from server.graph.subgraph import Subgraph, SubgraphError, inline_subgraph
from server.graph.text.options import OptionsError, OptionsText, make_options
from server.graph.validation.stream_types import CheckedNode
from server.graph.validation.wiring import ValidatedGraph, wire

__all__ = ["ValidatedGraph", "validate"]


def validate(config: GraphConfig, base_path: Path) -> ValidatedGraph:
    """Check everything that can be checked without opening a node.

    Imports the calculators that the graph names. `base_path` is the folder of graph.pbtxt. Raises
    GraphValidationError with every problem found.
    """
    checker = _NodeChecker(base_path, config.options)
    if not config.nodes:
        checker.problems.append("the graph has no node; it needs at least one `node { ... }`")
    checker.check_nodes(config.nodes, config.output_streams, ())
    checker.check_overrides()
    graph = wire(config, checker.nodes, checker.problems)
    if checker.problems:
        raise GraphValidationError(config.source_name, checker.problems)
    assert graph is not None
    return graph


class _NodeChecker:
    """Checks each node against its calculator's contract, and expands the subgraphs."""

    def __init__(self, base_path: Path, overrides: Mapping[str, Any]) -> None:
        self._base_path = base_path
        self._overrides = overrides
        self._option_names: set[str] = set()
        self.problems: list[str] = []
        self.nodes: list[CheckedNode] = []

    def check_nodes(
        self,
        nodes: Sequence[NodeConfig],
        border_outputs: Iterable[str],
        outer_classes: tuple[NodeClass, ...],
    ) -> None:
        """Check the nodes of one graph; `outer_classes` are the subgraphs around it."""
        named = _with_names(nodes)
        for name, count in Counter(node.name for node in named).items():
            if count > 1:
                self.problems.append(f"{count} nodes are named {name!r}; a name is used once")
        loops = self._find_loops(named, border_outputs)
        for node in named:
            self._check_node(node, loops, outer_classes)

    def check_overrides(self) -> None:
        """Report each override that is an option of no node."""
        for name in self._overrides.keys() - self._option_names:
            self.problems.append(
                f"no node has an option {name!r}; {close_names(name, self._option_names)}"
            )

    def _find_loops(self, nodes: Sequence[NodeConfig], border_outputs: Iterable[str]) -> set[str]:
        """Return the streams that are read by back edges only."""
        looped: set[str] = set()
        read = {_stream_name(text) for text in border_outputs}
        for node in nodes:
            back = _back_edge_inputs(node)
            looped |= {_stream_name(text) for text in back}
            read |= {_stream_name(text) for text in node.input_streams if text not in back}
        written = {_stream_name(text) for node in nodes for text in node.output_streams}
        for stream in sorted(looped - written):
            self.problems.append(
                f"a back edge reads stream {stream!r}, which no node produces; "
                f"{close_names(stream, written)}"
            )
        return looped - read

    def _check_node(
        self, node: NodeConfig, loops: set[str], outer_classes: tuple[NodeClass, ...]
    ) -> None:
        where = describe_node(node)
        cls = self._resolve(node, where)
        contract = None if cls is None else cls.contract_for(node)
        node = self._without_back_edges(node, where, contract, loops)
        ports = NodePorts(
            self._ports(where, "input_stream", node.input_streams, contract, "inputs"),
            self._ports(where, "output_stream", node.output_streams, contract, "outputs"),
            self._ports(
                where, "input_side_packet", node.input_side_packets, contract, "input_side_packets"
            ),
            self._ports(
                where,
                "output_side_packet",
                node.output_side_packets,
                contract,
                "output_side_packets",
            ),
        )
        if cls is None:
            self.nodes.append(CheckedNode(node.name, where, None, None, None, ports))
            return
        options, are_usable = self._options(node, where, cls)
        if issubclass(cls, Calculator):
            self.nodes.append(CheckedNode(node.name, where, cls, contract, options, ports))
            return
        inner = None
        if cls in outer_classes:
            path = " -> ".join(outer.__name__ for outer in (*outer_classes, cls))
            self.problems.append(f"{where}: subgraphs contain each other: {path}")
        elif are_usable:
            inner = self._expand(node, where, cls, options, ports)
        if inner is None:
            # Its outputs must not be reported as missing.
            self.nodes.append(CheckedNode(node.name, where, None, None, None, ports))
            return
        self.check_nodes(inner, ports.outputs.values(), (*outer_classes, cls))

    def _resolve(self, node: NodeConfig, where: str) -> NodeClass | None:
        try:
            if isinstance(node.calculator, str):
                return resolve_calculator(node.calculator, self._base_path)
            return checked_class(node.calculator_name, node.calculator)
        except UnknownPluginError as error:
            self.problems.append(f"{where}: {error}")
            return None

    def _without_back_edges(
        self, node: NodeConfig, where: str, contract: Contract | None, loops: set[str]
    ) -> NodeConfig:
        """Drop the back edges: here a calculator streams without sending packets to itself."""
        back = _back_edge_inputs(node)
        for tag_index in node.back_edges:
            if not any(_is_at(text, tag_index) for text in node.input_streams):
                self.problems.append(
                    f"{where}: input_stream_info names {tag_index!r}, which is no input_stream of "
                    f"the node; {close_names(tag_index, map(_tag_index, node.input_streams))}"
                )
        declared = set() if contract is None else {tag.name for tag in contract.outputs}
        return replace(
            node,
            input_streams=tuple(text for text in node.input_streams if text not in back),
            output_streams=tuple(
                text
                for text in node.output_streams
                if _stream_name(text) not in loops or _tag_index(text).split(":")[0] in declared
            ),
        )

    def _ports(
        self, where: str, field: str, texts: Sequence[str], contract: Contract | None, kind: str
    ) -> Mapping[str, str]:
        """Return tag -> name for the ports of one kind, checked against the contract."""
        tags: dict[str, Tag[Any]] | None = None
        if contract is not None:
            tags = {tag.name: tag for tag in getattr(contract, kind)}
        found: dict[str, str] = {}
        for text in texts:
            try:
                port = Port.parse(text)
            except ValueError as error:
                self.problems.append(f"{where}: {field}: {error}")
                continue
            if tags is None:
                found[_tag_index(text)] = port.name
                continue
            problem = _tag_problem(port, text, tags, found)
            if problem:
                self.problems.append(f"{where}: {field} {problem}")
            else:
                found[port.tag] = port.name
        for tag in (tags or {}).values():
            if tag.name not in found and not tag.optional:
                self.problems.append(
                    f"{where}: {field} {_spelled(tag.name)} is missing; it carries "
                    f"{tag.type.__name__}"
                )
        return found

    def _options(self, node: NodeConfig, where: str, cls: NodeClass) -> tuple[object, bool]:
        options_class = cls.options_class
        try:
            if options_class is None:
                if node.options is not None:
                    raise OptionsError([(None, f"{cls.__name__} takes no options")])
                return None, True
            if isinstance(node.options, options_class):
                return node.options, True
            if node.options is None or isinstance(node.options, OptionsText):
                self._option_names |= {field.name for field in fields(options_class)}
                return make_options(options_class, node.options, self._overrides), True
            found = type(node.options).__name__
            expected = options_class.__name__
            raise OptionsError([(None, f"options are a {found}; it takes {expected}")])
        except OptionsError as error:
            for position, problem in error.problems:
                place = describe_node(replace(node, position=position or node.position))
                self.problems.append(f"{place}: {problem}")
            return None, False

    def _expand(
        self,
        node: NodeConfig,
        where: str,
        cls: type[Subgraph[Any]],
        options: object,
        ports: NodePorts,
    ) -> tuple[NodeConfig, ...] | None:
        try:
            inner = cls().expand(node.name, options)
            return inline_subgraph(node, cls.contract, inner, ports)
        except (SubgraphError, ServingError, ValueError) as error:
            self.problems.append(f"{where}: {cls.__name__}: {error}")
        except Exception as error:
            self.problems.append(
                f"{where}: {cls.__name__}.expand failed: {type(error).__name__}: {error}"
            )
        return None


def describe_node(node: NodeConfig) -> str:
    """Say where a node is: its place in the text, if it has one, and its name."""
    name = f"node {node.name!r}"
    if node.position is None:
        return name
    return f"line {node.position.line}, column {node.position.column}: {name}"


def _with_names(nodes: Sequence[NodeConfig]) -> tuple[NodeConfig, ...]:
    """Name unnamed nodes after their calculators, with a number if the name is taken."""
    taken = {node.name for node in nodes}
    named = []
    for node in nodes:
        name = node.name
        if not name:
            stem = node.calculator_name.rpartition(":")[2] or "node"
            number = 1
            name = stem
            while name in taken:
                number += 1
                name = f"{stem}_{number}"
            taken.add(name)
        named.append(replace(node, name=name))
    return tuple(named)


def _tag_problem(
    port: Port, text: str, tags: Mapping[str, Tag[Any]], found: Mapping[str, str]
) -> str | None:
    if port.tag not in tags:
        return f"{text!r}: unknown tag {port.tag!r}; {close_names(port.tag, tags)}"
    if port.index != 0:
        return f"{text!r}: index {port.index}; tag {_spelled(port.tag)} takes one, with index 0"
    if port.tag in found:
        return f"{text!r}: tag {_spelled(port.tag)} is already connected to {found[port.tag]!r}"
    return None


def _spelled(tag: str) -> str:
    return repr(tag) if tag else "without a tag"


def _stream_name(text: str) -> str:
    return text.rpartition(":")[2]


def _tag_index(text: str) -> str:
    """`LOOPBACK:loop` and `LOOPBACK:0:loop` -> `LOOPBACK:0`."""
    tag, _, index = text.rpartition(":")[0].partition(":")
    return f"{tag}:{index or 0}"


def _is_at(text: str, tag_index: str) -> bool:
    return _tag_index(text) == (tag_index if ":" in tag_index else f"{tag_index}:0")


def _back_edge_inputs(node: NodeConfig) -> set[str]:
    return {
        text
        for text in node.input_streams
        if any(_is_at(text, tag_index) for tag_index in node.back_edges)
    }
