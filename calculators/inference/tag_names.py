"""The option that gives tensors a name for each tag, a map<string, string> in OVMS."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["TagName", "names_by_tag"]


@dataclass(frozen=True)
class TagName:
    """One entry: the tag is the `key`, the name of the tensor the `value`."""

    key: str
    value: str


def names_by_tag(option: str, entries: Iterable[TagName]) -> Mapping[str, str]:
    """Tag -> name. Raises ValueError for a tag that is there twice."""
    names: dict[str, str] = {}
    for entry in entries:
        if entry.key in names:
            raise ValueError(f"{option} has the key {entry.key!r} twice")
        names[entry.key] = entry.value
    return names
