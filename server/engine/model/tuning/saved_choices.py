"""What earlier loads have chosen and measured, in a file beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from server.engine.config import EngineConfig, PluginValue
from server.engine.model.tuning.candidates import Properties
from server.engine.model.tuning.saved_entries import Entry, SavedEntries, describe_case

SAVED_FILE = ".auto_tune.json"
"""The leading dot keeps watchers from taking it for a changed part of the model."""

METHOD = "few layers, up to 64 sequences"
"""What was chosen by another method of measuring is measured again."""

STEP_NAMES = ("decode_1", "decode_16", "decode_64", "prompt_256")
"""The steps that are measured, as they are called in the file; a decode step has no more sequences
than `max_num_seqs`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate, what requests take with it as a share of that without, and its times.

    `times_s` are seconds of each of STEP_NAMES. Both are None where it does not run.
    """

    properties: Properties
    share: float | None
    times_s: tuple[float, float, float, float] | None

    def describe(self) -> dict[str, Any]:
        """As JSON, in milliseconds."""
        times_s = self.times_s or ()
        ms = {n: round(1000 * s, 3) for n, s in zip(STEP_NAMES, times_s, strict=False)}
        share = None if self.share is None else round(self.share, 4)
        return {"properties": self.properties, "share": share, "ms": ms or None}


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """The best properties so far, all that was measured, and whether nothing is left to measure.

    `layers` is how many layers were measured, and how many there are; (1, 1) is all.
    """

    properties: Properties
    candidates: tuple[Measured, ...] = ()
    is_complete: bool = False
    layers: tuple[int, int] = (1, 1)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "properties": self.properties,
            "candidates": [each.describe() for each in self.candidates],
            "is_complete": self.is_complete,
            "layers": list(self.layers),
        }


class SavedChoices:
    """The choice for one model on this machine."""

    def __init__(self, config: EngineConfig, device: str) -> None:
        key = {**describe_case(config, device), "method": METHOD}
        self._entries = SavedEntries(config.models_path / SAVED_FILE, key, _is_valid)

    def find(self) -> TuningRecord | None:
        """What applies; None where there is nothing."""
        entry = self._entries.find()
        if entry is None:
            return None
        measured = tuple(_read_candidate(each) for each in entry["candidates"])
        first, second = entry["layers"]
        return TuningRecord(entry["properties"], measured, entry["is_complete"], (first, second))

    def keep(self, record: TuningRecord) -> None:
        """Save a choice, or how far tuning has come: then the next load goes on.

        Where the file cannot be written, the next load tunes again.
        """
        self._entries.put(record.describe())

    def forget(self) -> None:
        """Remove what applies, if there is anything."""
        self._entries.remove()


def _read_candidate(entry: Mapping[str, Any]) -> Measured:
    times_s = None
    if entry["ms"] is not None:
        one, sixteen, many, prompt = (entry["ms"][name] / 1000 for name in STEP_NAMES)
        times_s = (one, sixteen, many, prompt)
    return Measured(entry["properties"], entry["share"], times_s)


def _is_valid(entry: Entry) -> bool:
    layers, candidates = entry.get("layers"), entry.get("candidates")
    return (
        _are_properties(entry.get("properties"))
        and type(entry.get("is_complete")) is bool
        and isinstance(layers, list)
        and len(layers) == 2
        and all(type(count) is int for count in layers)
        and isinstance(candidates, list)
        and all(_is_candidate(each) for each in candidates)
    )


def _is_candidate(entry: Any) -> bool:
    if not (isinstance(entry, dict) and _are_properties(entry.get("properties"))):
        return False
    share, ms = entry.get("share"), entry.get("ms", {})
    if share is None or ms is None:
        return share is None and ms is None
    return (
        _is_positive(share)
        and isinstance(ms, dict)
        and ms.keys() == set(STEP_NAMES)
        and all(map(_is_positive, ms.values()))
    )


def _are_properties(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(v, PluginValue) for v in values.values())


def _is_positive(value: Any) -> bool:
    return type(value) is float and isfinite(value) and value > 0
