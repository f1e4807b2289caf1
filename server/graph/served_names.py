"""More names for a model than the configured one."""

from dataclasses import dataclass

__all__ = ["ServedNames"]


@dataclass(frozen=True, slots=True)
class ServedNames:
    """A side packet with names, such as those of adapters, that requests may give as `model`.

    A name that is configured stands for that model, and else for the first one that offers it.
    """

    names: tuple[str, ...]
