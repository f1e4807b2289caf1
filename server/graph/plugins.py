"""What installed packages register by name, in a group of entry points."""

import functools
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, NamedTuple, TypeVar

from server.errors import did_you_mean

__all__ = ["PluginGroup", "PluginInfo", "UnknownPluginError", "close_names", "list_plugins"]

T = TypeVar("T")

# Comparing is quadratic over a whole file of mistakes.
MAX_COMPARED_NAMES = 200


class UnknownPluginError(Exception):
    """A name leads to nothing that can be used; the message says which part of it was wrong."""


class PluginInfo(NamedTuple):
    """What `server --list_calculators` shows of a plug-in."""

    name: str
    description: str
    origin: str


class PluginGroup(Generic[T]):
    """The plug-ins of one kind. `check` returns what was found, or raises UnknownPluginError.

    `missing` are names that other servers know and this one does not, each with what it is.
    `way_out` says what else helps where two packages register one name.
    """

    def __init__(
        self,
        group: str,
        kind: str,
        check: Callable[[str, Any], T],
        missing: Mapping[str, str] | None = None,
        way_out: str = "",
    ) -> None:
        self.kind = kind
        self._group = group
        self._check = check
        self._missing = missing or {}
        self._way_out = way_out

    def names(self) -> list[str]:
        """Every registered name."""
        return sorted(_find_entry_points(self._group))

    def load(self, name: str) -> T:
        """Import what is registered under a name; raises UnknownPluginError."""
        points = _find_entry_points(self._group).get(name, ())
        if not points:
            raise UnknownPluginError(self._why_unknown(name))
        if len(points) > 1:
            origins = " and ".join(map(_origin, points))
            raise UnknownPluginError(
                f"{self.kind} {name!r} is registered by {origins}; uninstall one{self._way_out}"
            )
        try:
            target = points[0].load()
        except (Exception, SystemExit) as error:
            raise UnknownPluginError(
                f"{self.kind} {name!r} of {_origin(points[0])} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        return self._check(name, target)

    def list(self) -> list[PluginInfo]:
        """Describe every plug-in; one that cannot be used says why."""
        infos = []
        for name, points in sorted(_find_entry_points(self._group).items()):
            try:
                description = (self.load(name).__doc__ or "").strip().partition("\n")[0]
            except UnknownPluginError as error:
                description = f"unusable: {error}"
            infos.append(PluginInfo(name, description, _origin(points[0])))
        return infos

    def _why_unknown(self, name: str) -> str:
        if name in self._missing:
            return f"{self._missing[name]}, {name}, is not here yet"
        hint = close_names(name, self.names())
        return f"no installed package registers {self.kind} {name!r}; {hint}"


def list_plugins(group: str) -> list[PluginInfo]:
    """Describe what is registered in a group whose kind the caller does not know."""
    return PluginGroup(group, "plug-in", lambda _, target: target).list()


def close_names(found: str, possible: Iterable[str]) -> str:
    """Say what `found` may have been meant to be, and what else was possible."""
    names = sorted(set(possible))
    if not names:
        return "there are none"
    if len(names) > MAX_COMPARED_NAMES:
        return f"there are {len(names)} others"
    close = did_you_mean(found, names)
    if close:
        return close.removeprefix("; ")
    return f"possible: {', '.join(repr(name) for name in names)}"


@functools.cache
def _find_entry_points(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        others = found.setdefault(point.name, [])
        # One distribution that is found twice on sys.path is no conflict.
        if point.value not in [other.value for other in others]:
            others.append(point)
    return {name: tuple(points) for name, points in found.items()}


def _origin(point: EntryPoint) -> str:
    if point.dist is None:
        return point.value
    return f"{point.dist.name} {point.dist.version} ({point.value})"
