"""What the program around a graph gives to its nodes when it loads them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["Services"]

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """Calculators reach these through `OpenContext`.

    `on_resolve` gets each path that a node is about to read, and `on_open` what names a node that
    is about to be opened. `on_progress` gets what a node is doing and the fraction of it that is
    done, from 0 to 1. All are called from worker threads.
    `cache_dir` is where nodes may keep what makes their next load faster. `extras` are objects
    that the framework does not know, found by their class; there is at most one of each class.
    """

    on_resolve: Callable[[Path], None] | None = None
    on_open: Callable[[str], None] | None = None
    on_progress: Callable[[str, float], None] | None = None
    cache_dir: Path | None = None
    extras: tuple[object, ...] = ()

    def get(self, kind: type[T]) -> T:
        """The object of this class, or else a new one with its defaults."""
        for extra in self.extras:
            if isinstance(extra, kind):
                return extra
        return kind()
