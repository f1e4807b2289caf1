"""Connects the checked nodes of a graph: producers, readers, types, and the order to open them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.graph.config import DEFAULT_MAX_QUEUE_SIZE, GraphConfig, Port
from server.graph.contract import Tag
from server.graph.plugins import close_names
from server.graph.run import StreamLayout
from server.graph.validation.request_packets import find_request_packets, with_request_packets
from server.graph.validation.stream_types import CheckedNode, StreamTypes, find_tag

__all__ = ["ValidatedGraph", "wire"]

# In MediaPipe -1 means no bound. Without a bound a slow client would use up the memory, so here it
# is a bound that no answer of a model reaches.
UNBOUNDED_QUEUE_SIZE = 1_000_000


@dataclass(frozen=True)
class ValidatedGraph:
    """A graph without problems: its nodes in the order to open them, its streams, its borders."""

    nodes: tuple[CheckedNode, ...]
    layout: StreamLayout
    input: Tag[Any]
    output: Tag[Any]


def wire(
    config: GraphConfig, nodes: Sequence[CheckedNode], problems: list[str]
) -> ValidatedGraph | None:
    """Connect the nodes; appends to `problems` and returns None if there are any."""
    border_input = _border(config.input_streams, "input_stream", problems)
    border_output = _border(config.output_streams, "output_stream", problems)
    capacity = _capacity(config, problems)
    _check_streams(nodes, border_input, border_output, problems)
    request_packets = find_request_packets(config, nodes, problems)
    _check_side_packets(nodes, request_packets, problems)
    stream_edges = _edges(nodes, lambda node: (node.ports.inputs, node.ports.outputs))
    packet_edges = _edges(
        nodes, lambda node: (node.ports.input_side_packets, node.ports.output_side_packets)
    )
    stream_cycle = _find_cycle(stream_edges)
    if stream_cycle:
        problems.append(
            f"streams go round in a cycle: {stream_cycle}; an edge back to an earlier node must be "
            f"marked by input_stream_info {{ back_edge: true }}"
        )
    packet_cycle = _find_cycle(packet_edges)
    if packet_cycle:
        problems.append(f"side packets go round in a cycle: {packet_cycle}")
    types = StreamTypes(nodes)
    types.check(None if border_input is None else border_input.name, problems)
    if problems or border_input is None or border_output is None:
        return None
    packet_types = {
        name: types.carried(name)
        for name in (border_input.name, *(s for node in nodes for s in node.ports.outputs.values()))
    }
    layout = StreamLayout(
        packet_types, capacity, border_input.name, border_output.name, request_packets
    )
    rank = {name: place for place, name in enumerate(_sorted(nodes, stream_edges, {}))}
    order = _sorted(nodes, packet_edges, rank)
    by_name = {node.name: with_request_packets(node, request_packets) for node in nodes}
    return ValidatedGraph(
        tuple(by_name[name] for name in order),
        layout,
        Tag(border_input.tag, packet_types[border_input.name]),
        Tag(border_output.tag, packet_types[border_output.name]),
    )


def _border(texts: Sequence[str], field: str, problems: list[str]) -> Port | None:
    if len(texts) != 1:
        found = ", ".join(repr(text) for text in texts) or "none"
        problems.append(f"the graph needs exactly one {field} of its own; found {found}")
        return None
    try:
        return Port.parse(texts[0])
    except ValueError as error:
        problems.append(f"{field} of the graph: {error}")
        return None


def _capacity(config: GraphConfig, problems: list[str]) -> int:
    size = config.max_queue_size
    if size < -1:
        problems.append(
            f"max_queue_size is {size}; it must be at least 1, 0 for the default of "
            f"{DEFAULT_MAX_QUEUE_SIZE}, or -1 for no bound"
        )
    return {-1: UNBOUNDED_QUEUE_SIZE, 0: DEFAULT_MAX_QUEUE_SIZE}.get(size, size)


def _check_streams(
    nodes: Sequence[CheckedNode],
    border_input: Port | None,
    border_output: Port | None,
    problems: list[str],
) -> None:
    producers: dict[str, list[str]] = {}
    if border_input is not None:
        producers[border_input.name] = ["the input_stream of the graph"]
    for node in nodes:
        for tag, name in node.ports.outputs.items():
            producers.setdefault(name, []).append(f"{node.where}, output {tag!r}")
    _report_double_producers("stream", producers, problems)
    for node in nodes:
        for tag, name in node.ports.inputs.items():
            if name not in producers:
                problems.append(
                    f"{node.where}: input {tag!r} reads stream {name!r}, which nothing produces; "
                    f"{close_names(name, producers)}"
                )
    if border_output is not None and border_output.name not in producers:
        problems.append(
            f"output_stream {border_output.name!r} of the graph is produced by no node; "
            f"{close_names(border_output.name, producers)}"
        )
    read = {name for node in nodes for name in node.ports.inputs.values()}
    if border_input is not None and nodes and border_input.name not in read:
        problems.append(
            f"input_stream {border_input.name!r} of the graph is read by no node; "
            f"{close_names(border_input.name, read)}"
        )


def _check_side_packets(
    nodes: Sequence[CheckedNode], request_packets: Collection[str], problems: list[str]
) -> None:
    producers: dict[str, list[str]] = {}
    produced: dict[str, Tag[Any]] = {}
    for node in nodes:
        for tag, name in node.ports.output_side_packets.items():
            producers.setdefault(name, []).append(f"{node.where}, output side packet {tag!r}")
            if node.contract is not None:
                produced[name] = find_tag(node.contract.output_side_packets, tag)
    _report_double_producers("side packet", producers, problems)
    for node in nodes:
        for tag, name in node.ports.input_side_packets.items():
            wanted = None
            if node.contract is not None:
                wanted = find_tag(node.contract.input_side_packets, tag)
            if name in request_packets:
                continue
            if name not in producers:
                # OVMS provides its resources itself (LLM_NODE_RESOURCES:llm). Calculators for
                # OVMS's graphs have these tags as optional.
                if wanted is not None and not wanted.optional:
                    problems.append(
                        f"{node.where}: side packet {tag!r} is {name!r}, which no node produces; "
                        f"{close_names(name, producers)}"
                    )
            elif wanted is not None and name in produced:
                made = produced[name].type
                if not issubclass(made, wanted.type):
                    problems.append(
                        f"{node.where}: side packet {tag!r} must be {wanted.type.__name__}, but "
                        f"{producers[name][0]} makes {made.__name__}"
                    )


def _report_double_producers(
    kind: str, producers: Mapping[str, Sequence[str]], problems: list[str]
) -> None:
    for name, found in producers.items():
        if len(found) > 1:
            problems.append(f"{kind} {name!r} has {len(found)} producers: {'; '.join(found)}")


Maps = tuple[Mapping[str, str], Mapping[str, str]]


def _edges(
    nodes: Sequence[CheckedNode], ends: Callable[[CheckedNode], Maps]
) -> dict[str, list[str]]:
    """Return node -> the nodes whose outputs it needs."""
    makers: dict[str, str] = {}
    for node in nodes:
        for name in ends(node)[1].values():
            makers[name] = node.name
    return {
        node.name: [makers[name] for name in ends(node)[0].values() if name in makers]
        for node in nodes
    }


def _find_cycle(edges: Mapping[str, Sequence[str]]) -> str | None:
    """Return one cycle as `A -> B -> A`, in the direction of the packets, or None."""
    finished: set[str] = set()
    for start in edges:
        path = [] if start in finished else [start]
        pending = [iter(edges[name]) for name in path]
        while pending:
            following = next(pending[-1], None)
            if following is None:
                finished.add(path.pop())
                pending.pop()
            elif following in path:
                cycle = [*path[path.index(following) :], following]
                return " -> ".join(reversed(cycle))
            elif following not in finished:
                path.append(following)
                pending.append(iter(edges[following]))
    return None


def _sorted(
    nodes: Sequence[CheckedNode], edges: Mapping[str, Sequence[str]], rank: Mapping[str, int]
) -> list[str]:
    """Return the names, each after those it needs; otherwise by rank, then as written."""
    waiting = sorted((node.name for node in nodes), key=lambda name: rank.get(name, 0))
    done: dict[str, None] = {}
    while waiting:
        name = next(name for name in waiting if all(need in done for need in edges[name]))
        waiting.remove(name)
        done[name] = None
    return list(done)
