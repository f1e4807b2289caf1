"""The type that each stream of a graph carries, and whether its readers accept it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.graph.calculator import Calculator
from server.graph.contract import Contract, NodePorts, Tag

__all__ = ["CheckedNode", "StreamTypes", "find_tag"]


@dataclass(frozen=True)
class CheckedNode:
    """A node whose ports and options fit its calculator's contract.

    `calculator_class` and `contract` are None for a node that already has a problem: its
    connections still count, its types do not. `request_packets` are the input side packets that
    each request brings: tag name -> parameter.
    """

    name: str
    where: str
    calculator_class: type[Calculator[Any]] | None
    contract: Contract | None
    options: object
    ports: NodePorts
    request_packets: Mapping[str, str] = field(default_factory=dict)


def find_tag(tags: Iterable[Tag[Any]], name: str) -> Tag[Any]:
    """Return the tag of that name, which must be there."""
    return next(tag for tag in tags if tag.name == name)


class StreamTypes:
    """The types of the streams; both streams that a pass-through node joins have one type.

    A stream that no node writes, the graph's input, has the narrowest type of its readers.
    """

    def __init__(self, nodes: Sequence[CheckedNode]) -> None:
        self._joined: dict[str, str] = {}
        self._writers: dict[str, list[tuple[type, str]]] = {}
        self._readers: dict[str, list[tuple[type, str]]] = {}
        self._unknown: set[str] = set()
        for node in nodes:
            self._join_pass_through(node)
        for node in nodes:
            self._note(node)

    def carried(self, stream: str) -> type:
        """Return the type of the packets of `stream`."""
        root = self._root(stream)
        if root in self._writers:
            return self._writers[root][0][0]
        carried: type = object
        for wanted, _ in self._readers.get(root, ()):
            if issubclass(wanted, carried):
                carried = wanted
        return carried

    def check(self, border_input: str | None, problems: list[str]) -> None:
        """Report each reader that would get packets of a type that it does not accept."""
        for root, readers in self._readers.items():
            writers = self._writers.get(root, [])
            verb = "produces"
            if border_input is not None and root == self._root(border_input) and not writers:
                # No node writes it: start_run takes the type on which the readers agree.
                narrowest = self.carried(root)
                writers = [entry for entry in readers if entry[0] is narrowest][:1]
                verb = "takes"
            for wanted, reader in readers:
                for made, writer in writers:
                    if root not in self._unknown and not issubclass(made, wanted):
                        problems.append(
                            f"{reader} takes {wanted.__name__}, but {writer} {verb} {made.__name__}"
                        )

    def _join_pass_through(self, node: CheckedNode) -> None:
        if node.contract is None:
            return
        inputs = _untyped(node.contract.inputs, node.ports.inputs)
        outputs = _untyped(node.contract.outputs, node.ports.outputs)
        pairs = [(inputs[tag], outputs[tag]) for tag in inputs if tag in outputs]
        if len(inputs) == len(outputs) == 1:
            pairs = list(zip(inputs.values(), outputs.values(), strict=True))
        for source, target in pairs:
            if self._root(source) != self._root(target):
                self._joined[self._root(target)] = self._root(source)

    def _note(self, node: CheckedNode) -> None:
        if node.contract is None:
            self._unknown |= {self._root(name) for name in node.ports.outputs.values()}
            return
        for tag, name in node.ports.inputs.items():
            wanted = find_tag(node.contract.inputs, tag).type
            entry = (wanted, f"{node.where}: input {tag!r}")
            self._readers.setdefault(self._root(name), []).append(entry)
        read = {self._root(name) for name in node.ports.inputs.values()}
        for tag, name in node.ports.outputs.items():
            made = find_tag(node.contract.outputs, tag).type
            if made is not object or self._root(name) not in read:
                entry = (made, f"{node.where}: output {tag!r}")
                self._writers.setdefault(self._root(name), []).append(entry)

    def _root(self, stream: str) -> str:
        while stream in self._joined:
            stream = self._joined[stream]
        return stream


def _untyped(tags: Iterable[Tag[Any]], ports: Mapping[str, str]) -> Mapping[str, str]:
    return {tag: name for tag, name in ports.items() if find_tag(tags, tag).type is object}
