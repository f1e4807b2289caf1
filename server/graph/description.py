"""What stays known of a graph when it is closed."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from server.graph.contract import Tag

__all__ = ["GraphDescription", "find_mismatch", "is_plain_data"]

T = TypeVar("T")

PLAIN_TYPES = (bool, bytes, float, int, str, type(None))


@dataclass(frozen=True, slots=True)
class GraphDescription:
    """The borders of a graph, and those of its side packets that are plain data, such as limits."""

    name: str
    input: Tag[Any]
    output: Tag[Any]
    input_name: str
    output_name: str
    side_packets: tuple[object, ...] = ()

    def find_side_packet(self, kind: type[T]) -> T | None:
        """The first side packet of that type that is plain data."""
        return next((packet for packet in self.side_packets if isinstance(packet, kind)), None)


def is_plain_data(value: object) -> bool:
    """Whether a value is made of numbers, texts, tuples and frozen dataclasses alone."""
    if isinstance(value, tuple):
        return all(map(is_plain_data, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parameters = value.__dataclass_params__  # type: ignore[attr-defined]
        fields = (getattr(value, field.name) for field in dataclasses.fields(value))
        return bool(parameters.frozen) and all(map(is_plain_data, fields))
    return isinstance(value, PLAIN_TYPES)


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
