"""A graph registered under a calculator name; at load it replaces its node."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from server.graph.config import GraphConfig, NodeConfig, Port
from server.graph.contract import Contract, NodePorts, NodeType, OptionsT, Tag

__all__ = ["Subgraph", "SubgraphError", "inline_subgraph"]


class Subgraph(NodeType[OptionsT]):
    """A node that is replaced by a graph when it is loaded.

    The `contract` types the ports of the node, as a Calculator's does. The graph that `expand`
    returns has these tags on its own borders: `GraphConfig(input_streams=("TAG:name",), ...)`.
    """

    def expand(self, node_name: str, options: OptionsT) -> GraphConfig:
        """Return the graph to put in place of the node; raises ValueError for unusable options.

        Names of nodes and streams need to be unique inside the returned graph only.
        """
        raise NotImplementedError(f"{type(self).__name__} has no expand()")


class SubgraphError(Exception):
    """A subgraph expands to a graph that does not fit its contract; becomes a problem."""


def inline_subgraph(
    node: NodeConfig, contract: Contract, inner: GraphConfig, outer: NodePorts
) -> tuple[NodeConfig, ...]:
    """Return the nodes of `inner`, named after `node`, with its connections."""
    prefix = f"{node.name}__"
    streams = _Renaming(prefix)
    streams.join(inner.input_streams, contract.inputs, outer.inputs, drop=True)
    streams.join(inner.output_streams, contract.outputs, outer.outputs, drop=False)
    packets = _Renaming(prefix)
    packets.join(
        inner.input_side_packets, contract.input_side_packets, outer.input_side_packets, drop=True
    )
    packets.join(
        inner.output_side_packets,
        contract.output_side_packets,
        outer.output_side_packets,
        drop=False,
    )
    return tuple(
        replace(
            inner_node,
            name=prefix + (inner_node.name or f"{inner_node.calculator_name}_{number}"),
            input_streams=streams.rename(inner_node.input_streams),
            output_streams=streams.rename(inner_node.output_streams),
            input_side_packets=packets.rename(inner_node.input_side_packets),
            output_side_packets=packets.rename(inner_node.output_side_packets),
            position=node.position,
        )
        for number, inner_node in enumerate(inner.nodes, 1)
    )


class _Renaming:
    """Inner name -> outer name; names inside the subgraph get the node's name as a prefix."""

    def __init__(self, prefix: str) -> None:
        self._make_private: Callable[[str], str] = lambda name: _as_identifier(prefix) + name
        self._names: dict[str, str] = {}
        self._dropped: set[str] = set()

    def join(
        self,
        borders: Iterable[str],
        tags: Iterable[Tag[Any]],
        outer: Mapping[str, str],
        *,
        drop: bool,
    ) -> None:
        """Note the outer names of border ports; `drop` ports that are not connected outside."""
        possible = {tag.name for tag in tags}
        for text in borders:
            try:
                port = Port.parse(text)
            except ValueError as error:
                raise SubgraphError(str(error)) from None
            if port.tag not in possible:
                raise SubgraphError(
                    f"it expands to a graph with the port {text!r} that its contract does not name"
                )
            if port.tag in outer:
                self._names[port.name] = outer[port.tag]
            elif drop:
                self._dropped.add(port.name)

    def rename(self, ports: Iterable[str]) -> tuple[str, ...]:
        """Return `ports` with outer names, without those that were dropped."""
        renamed = []
        for text in ports:
            head, _, name = text.rpartition(":")
            if name in self._dropped:
                continue
            new_name = self._names.get(name) or self._make_private(name)
            renamed.append(f"{head}:{new_name}" if head else new_name)
        return tuple(renamed)


def _as_identifier(name: str) -> str:
    # A node may have any name; a stream must have an identifier.
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in "n_" + name)
