"""A graph as it is configured, in JSON values: what pages draw."""

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from math import isfinite
from typing import Any

from server.graph.contract import Tag
from server.graph.validation.stream_types import CheckedNode
from server.graph.validation.validation import ValidatedGraph

__all__ = ["define_graph"]

MAX_TEXT = 2000


def define_graph(graph: ValidatedGraph) -> dict[str, Any]:
    """The nodes in the order of their opening, subgraphs expanded, with the types of the streams.

    `options` of a node are those that differ from its calculator's defaults.
    """
    layout = graph.layout
    return {
        "input_stream": layout.input_name,
        "output_stream": layout.output_name,
        "request_packets": {
            name: tag.type.__name__ for name, tag in layout.request_packets.items()
        },
        "max_queue_size": layout.capacity,
        "streams": [
            {"name": name, "type": kind.__name__} for name, kind in layout.packet_types.items()
        ],
        "nodes": [_define_node(node) for node in graph.nodes],
    }


def _define_node(node: CheckedNode) -> dict[str, Any]:
    assert node.calculator_class is not None
    ports = node.ports
    made = () if node.contract is None else node.contract.output_side_packets
    return {
        "name": node.name,
        "calculator": node.calculator_class.__name__,
        "inputs": _ports(ports.inputs),
        "outputs": _ports(ports.outputs),
        "input_side_packets": _ports(ports.input_side_packets),
        "output_side_packets": _typed_ports(ports.output_side_packets, made),
        "options": _options(node.options),
    }


def _ports(ports: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"tag": tag, "name": name} for tag, name in ports.items()]


def _typed_ports(ports: Mapping[str, str], tags: Sequence[Tag[Any]]) -> list[dict[str, str]]:
    types = {tag.name: tag.type.__name__ for tag in tags}
    return [{**port, "type": types.get(port["tag"], "")} for port in _ports(ports)]


def _options(options: object) -> dict[str, Any]:
    if not dataclasses.is_dataclass(options):
        return {}
    return {
        field.name: _plain(value)
        for field in dataclasses.fields(options)
        if not _is_default(field, value := getattr(options, field.name))
    }


def _is_default(field: "dataclasses.Field[Any]", value: object) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)


def _plain(value: object) -> Any:
    """A JSON value; what has no form in JSON as a text."""
    if isinstance(value, Enum):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
