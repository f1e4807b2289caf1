"""Which sizes of steps traffic has used and what they cost, in a file beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from server.engine.config import EngineConfig
from server.engine.model.tuning.candidates import Properties
from server.engine.model.tuning.saved_entries import Entry, SavedEntries, describe_case

SIZES_FILE = ".step_sizes.json"
"""The leading dot keeps watchers from taking it for a changed part of the model."""

MAX_USES = 1_000_000
"""When all uses are more than this, each is halved: what traffic was like long ago fades."""


@dataclass(frozen=True, slots=True)
class SizeUse:
    """How often steps of a size ran, and the seconds of one; None where that is not known."""

    num_uses: int
    seconds: float | None


class SavedSizes:
    """The sizes that steps of one model had on this machine, with the properties it runs with."""

    def __init__(self, config: EngineConfig, device: str, tuned: Properties) -> None:
        key = {**describe_case(config, device), "tuned": dict(tuned)}
        self._entries = SavedEntries(config.models_path / SIZES_FILE, key, _is_valid)

    def find(self) -> dict[int, SizeUse]:
        """The sizes by number of tokens; none where nothing is known."""
        entry = self._entries.find() or {"sizes": {}}
        return {int(size): SizeUse(*use) for size, use in entry["sizes"].items()}

    def add(self, num_uses: Mapping[int, int], seconds: Mapping[int, float]) -> None:
        """Count further uses by size, and replace the `seconds` of each size that has any.

        Another server may have counted its own uses in the same file meanwhile.
        """
        known = self.find()
        uses = {size: use.num_uses for size, use in known.items()}
        for size, num in num_uses.items():
            uses[size] = uses.get(size, 0) + num
        if sum(uses.values()) > MAX_USES:
            uses = {size: num // 2 for size, num in uses.items()}
        costs = {size: use.seconds for size, use in known.items()} | dict(seconds)
        sizes = sorted(costs.keys() | uses.keys())
        self._entries.put({"sizes": {str(n): [uses.get(n, 0), costs.get(n)] for n in sizes}})


def _is_valid(entry: Entry) -> bool:
    sizes = entry.get("sizes")
    return isinstance(sizes, dict) and all(
        size.isascii() and size.isdecimal() and len(size) < 10 and _is_use(use)
        for size, use in sizes.items()
    )


def _is_use(use: Any) -> bool:
    if not (isinstance(use, list) and len(use) == 2):
        return False
    num_uses, seconds = use
    is_cost = seconds is None or (type(seconds) is float and isfinite(seconds) and seconds > 0)
    return type(num_uses) is int and num_uses >= 0 and is_cost
