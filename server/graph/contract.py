"""What a calculator takes, makes and is set up with, stated as data."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

__all__ = ["Contract", "NodeType", "Tag"]

T = TypeVar("T")


@dataclass(frozen=True)
class Tag(Generic[T]):
    """A typed port of a calculator: `name` is what stands before the colon in graph.pbtxt.

    An empty name is a port without a tag (`input_stream: "text"`). `object` as a type stands for
    any type: a node with exactly one `object` input and one `object` output passes the type of
    what it reads on to what it writes.
    """

    name: str
    type: type[T]
    optional: bool = False

    def __post_init__(self) -> None:
        # list[int] and the like cannot be checked packet by packet.
        if not isinstance(self.type, type) or hasattr(self.type, "__origin__"):
            raise TypeError(f"tag {self.name!r}: {self.type!r} is not a class")
        # A Protocol that is not runtime_checkable says so here, not in the middle of a request.
        isinstance(None, self.type)


@dataclass(frozen=True)
class Contract:
    """The ports of a calculator and its options.

    `options` is a dataclass whose fields are the fields of the node's options in graph.pbtxt (see
    server.graph.options), or None for a calculator without options. A calculator that `opens_alone`
    has the machine for itself in `open`, where it may measure times or take a share of free memory.
    """

    inputs: tuple[Tag[Any], ...] = ()
    outputs: tuple[Tag[Any], ...] = ()
    input_side_packets: tuple[Tag[Any], ...] = ()
    output_side_packets: tuple[Tag[Any], ...] = ()
    options: type | None = None
    opens_alone: bool = False

    def __post_init__(self) -> None:
        for kind in ("inputs", "outputs", "input_side_packets", "output_side_packets"):
            names = [tag.name for tag in getattr(self, kind)]
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} name these tags twice: {', '.join(repeated)}")
        if self.options is not None and not dataclasses.is_dataclass(self.options):
            raise TypeError(f"options must be a dataclass, not {self.options!r}")


class NodeType:
    """What a node of graph.pbtxt can name: the base of Calculator and Subgraph."""

    contract: ClassVar[Contract]
