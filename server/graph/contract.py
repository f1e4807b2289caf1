"""What a calculator reads, writes and has for options, stated as data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_origin

__all__ = ["Contract", "NodePorts", "NodeType", "OptionsT", "Tag"]

T = TypeVar("T")

if TYPE_CHECKING:
    import typing_extensions

    from server.graph.config import NodeConfig

    # `Calculator` alone means a calculator without options.
    OptionsT = typing_extensions.TypeVar("OptionsT", default=None)
else:
    OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class Tag(Generic[T]):
    """A typed port of a calculator: `name` is what stands before the colon in graph.pbtxt.

    An empty name is a port without a tag (`input_stream: "text"`). The type `object` is any type:
    if a node has exactly one `object` input and one `object` output, both carry the same type, and
    so do an `object` input and output of the same tag.
    """

    name: str
    type: type[T]
    optional: bool = False

    def __post_init__(self) -> None:
        # list[int] and the like cannot be checked packet by packet.
        if not isinstance(self.type, type) or hasattr(self.type, "__origin__"):
            raise TypeError(f"tag {self.name!r}: {self.type!r} is not a class")
        # Fails here, not during a request, for a Protocol that is not runtime_checkable.
        isinstance(None, self.type)

    def as_optional(self) -> "Tag[T]":
        """The same tag for a port that graph.pbtxt may leave out."""
        return dataclasses.replace(self, optional=True)


@dataclass(frozen=True)
class Contract:
    """The ports of a calculator.

    A calculator that `opens_alone` has the machine for itself in `open`, where it may measure times
    or take a share of free memory. `model_files` are the files that `open` reads in the folder of
    the option `models_path`: they are looked for before any node is opened. For an .xml the .bin
    beside it is looked for as well.
    """

    inputs: tuple[Tag[Any], ...] = ()
    outputs: tuple[Tag[Any], ...] = ()
    input_side_packets: tuple[Tag[Any], ...] = ()
    output_side_packets: tuple[Tag[Any], ...] = ()
    opens_alone: bool = False
    model_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind in ("inputs", "outputs", "input_side_packets", "output_side_packets"):
            names = [tag.name for tag in getattr(self, kind)]
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} name these tags twice: {', '.join(repeated)}")


@dataclass(frozen=True)
class NodePorts:
    """The connections of a node: tag -> name of the stream or side packet."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    input_side_packets: Mapping[str, str] = field(default_factory=dict)
    output_side_packets: Mapping[str, str] = field(default_factory=dict)


class NodeType(Generic[OptionsT]):
    """What a node of graph.pbtxt can name: the base of Calculator and Subgraph.

    `class Mine(Calculator[MyOptions])` has options: MyOptions is a dataclass, whose fields are the
    fields of the node's options in graph.pbtxt (see server.graph.text.options).
    """

    contract: ClassVar[Contract]
    options_class: ClassVar[type[Any] | None] = None

    @classmethod
    def contract_for(cls, node: "NodeConfig") -> Contract:
        """The ports of one node; override it where they depend on what the node connects."""
        return cls.contract

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, NodeType):
                cls.options_class = _options_class(cls.__name__, *get_args(base))


def _options_class(name: str, found: Any) -> type[Any] | None:
    if isinstance(found, TypeVar) or found is NoneType:
        return None
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise TypeError(f"{name}: options must be a dataclass, not {found!r}")
    return found
