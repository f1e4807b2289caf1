"""Side packets that the graph lists at its border: parameters of each request."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from server.graph.config import GraphConfig, Port
from server.graph.contract import Tag
from server.graph.validation.stream_types import CheckedNode, find_tag

__all__ = ["find_request_packets", "with_request_packets"]

# What parameters of requests are.
PARAMETER_TYPES = (str, int, float, bool)


def find_request_packets(
    config: GraphConfig, nodes: Sequence[CheckedNode], problems: list[str]
) -> Mapping[str, Tag[Any]]:
    """The tag that reads each of them; one that must be there before one that is optional."""
    produced = {name for node in nodes for name in node.ports.output_side_packets.values()}
    listed = _listed_names(config, problems) - produced
    found: dict[str, Tag[Any]] = {}
    for node in nodes:
        for tag_name, name in node.ports.input_side_packets.items():
            if node.contract is None or name not in listed:
                continue
            tag = find_tag(node.contract.input_side_packets, tag_name)
            if tag.type not in PARAMETER_TYPES:
                continue
            known = found.setdefault(name, tag)
            if known.type is not tag.type:
                problems.append(
                    f"{node.where}: side packet {tag_name!r} must be {tag.type.__name__}, but "
                    f"another node takes {name!r} as {known.type.__name__}"
                )
            elif not tag.optional:
                found[name] = tag
    return found


def with_request_packets(node: CheckedNode, request_packets: Mapping[str, Tag[Any]]) -> CheckedNode:
    """The node, with those of its side packets that requests bring."""
    packets = node.ports.input_side_packets.items()
    found = {tag: name for tag, name in packets if name in request_packets}
    return replace(node, request_packets=found) if found else node


def _listed_names(config: GraphConfig, problems: list[str]) -> set[str]:
    names = set()
    for text in config.input_side_packets:
        try:
            names.add(Port.parse(text).name)
        except ValueError as error:
            problems.append(f"input_side_packet of the graph: {error}")
    return names
