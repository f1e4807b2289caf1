"""A graph as the text of a graph.pbtxt."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from enum import Enum

from server.graph.config import GraphConfig, NodeConfig
from server.graph.contract import NodeType
from server.graph.text.options import proto_name

__all__ = ["quote", "write_graph_config"]


def write_graph_config(
    config: GraphConfig, options: Mapping[str, object], comments: Mapping[str, str] | None = None
) -> str:
    """Write a graph whose nodes name their classes; classes are registered under their names.

    Each node gets those of the `options` that its class has, in this order: strings, numbers,
    booleans and members of enums. `comments` are lines before options of these names.
    """
    borders = [
        *_ports("input_stream", config.input_streams),
        *_ports("output_stream", config.output_streams),
    ]
    nodes = [
        "\n".join(["node {", *_node(node, options, comments or {}), "}"]) for node in config.nodes
    ]
    return "\n\n".join(["\n".join(borders), *nodes]) + "\n"


def _node(
    node: NodeConfig, options: Mapping[str, object], comments: Mapping[str, str]
) -> Iterator[str]:
    yield f"  name: {quote(node.name)}"
    yield f"  calculator: {quote(node.calculator_name)}"
    for field in ("input_stream", "input_side_packet", "output_stream", "output_side_packet"):
        for line in _ports(field, getattr(node, f"{field}s")):
            yield f"  {line}"
    assert isinstance(node.calculator, type)
    assert issubclass(node.calculator, NodeType)
    options_class = node.calculator.options_class
    if options_class is None:
        return
    names = {field.name for field in fields(options_class)}
    values = {name: value for name, value in options.items() if name in names}
    if values:
        yield "  node_options: {"
        yield f"    [type.googleapis.com/{proto_name(options_class)}]: {{"
        for name, value in values.items():
            if name in comments:
                yield f"      # {comments[name]}"
            yield f"      {name}: {_value(value)}"
        yield "    }"
        yield "  }"


def _ports(field: str, ports: tuple[str, ...]) -> list[str]:
    return [f"{field}: {quote(port)}" for port in ports]


def _value(value: object) -> str:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool):
        return str(value).lower()
    return quote(value) if isinstance(value, str) else str(value)


def quote(text: str) -> str:
    """A string as the text of a graph has it."""
    # JSON reads best in single quotes.
    quote = "'" if {'"', "{"} & {*text} else '"'
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
    return f"{quote}{escaped}{quote}"
