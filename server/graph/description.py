"""What stays known of a graph when it is closed."""

from dataclasses import dataclass
from typing import Any, TypeVar

from server.graph.contract import Tag

__all__ = ["GraphDescription", "find_mismatch"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GraphDescription:
    """The borders of a graph, and the side packets that describe its model."""

    name: str
    input: Tag[Any]
    output: Tag[Any]
    input_name: str
    output_name: str
    side_packets: tuple[object, ...] = ()

    def find_side_packet(self, kind: type[T]) -> T | None:
        """The first side packet of that type that describes the model."""
        return next((packet for packet in self.side_packets if isinstance(packet, kind)), None)


def find_mismatch(
    borders: tuple[Tag[Any], Tag[Any]], input_type: type, output_type: type
) -> str | None:
    """Say that a graph does not turn one type into the other; None where it does."""
    found_input, found_output = (border.type for border in borders)
    if (found_input, found_output) == (input_type, output_type):
        return None
    return (
        f"goes from {found_input.__name__} to {found_output.__name__}, "
        f"not from {input_type.__name__} to {output_type.__name__}"
    )
