"""More names for a model than the configured one."""

from dataclasses import dataclass

__all__ = ["ServedNames"]


@dataclass(frozen=True, slots=True)
class ServedNames:
    """A side packet with names, such as those of adapters, that requests may give as `model`.

    A name that is configured stands for that model, and else for the first one that offers it.
    `roots` are the files behind the names, where they are known. A node may set the packet again.
    """

    names: tuple[str, ...]
    roots: tuple[str, ...] = ()

    def root_of(self, name: str) -> str | None:
        """The file behind a name; None where it is not known."""
        known = dict(zip(self.names, self.roots, strict=False))
        return known.get(name)
