"""Which adapters have requests that run, or that wait."""

from collections.abc import Iterable
from dataclasses import replace

from server.host.metrics import AdaptersInUse

__all__ = ["AdapterUse"]


class AdapterUse:
    """Notes for the metrics which adapters are at work. Any thread may read `current`."""

    def __init__(self) -> None:
        self.current = AdaptersInUse()

    def note(self, requests: Iterable[tuple[str, bool]]) -> None:
        """Note for each request the name of its adapter, and whether it runs."""
        names: dict[bool, set[str]] = {True: set(), False: set()}
        for name, is_running in requests:
            names[is_running].add(name)
        self.current = AdaptersInUse(0, tuple(sorted(names[True])), tuple(sorted(names[False])))

    def note_waiting(self, name: str) -> None:
        """Note that a request has come which waits."""
        waiting = self.current.waiting
        if name not in waiting:
            self.current = replace(self.current, waiting=tuple(sorted((*waiting, name))))
