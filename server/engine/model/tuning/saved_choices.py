"""What earlier loads have chosen or measured, in a file beside the model."""

from server.engine.config import EngineConfig, PluginValue
from server.engine.model.tuning.candidates import Properties
from server.engine.model.tuning.saved_entries import Entry, SavedEntries, describe_case

SAVED_FILE = ".auto_tune.json"
"""The leading dot keeps watchers from taking it for a changed part of the model."""

Scores = dict[str, float | None]
"""Properties as text -> time as a share of that without them; None where they do not run."""


class SavedChoices:
    """The choice for one model on this machine."""

    def __init__(self, config: EngineConfig, device: str) -> None:
        key = describe_case(config, device)
        self._entries = SavedEntries(config.models_path / SAVED_FILE, key, _is_valid)

    def find(self) -> Properties | None:
        """The choice that applies; None where there is none, or tuning has not ended."""
        entry = self._entries.find()
        return None if entry is None or "scores" in entry else dict(entry["properties"])

    def find_scores(self) -> Scores:
        """What was measured by earlier loads that had no time for all candidates."""
        entry = self._entries.find() or {}
        return dict(entry.get("scores", {}))

    def keep(self, properties: Properties, scores: Scores | None = None) -> None:
        """Save a choice, or how far tuning has come: with `scores`, the next load goes on.

        Where the file cannot be written, the next load tunes again.
        """
        values: Entry = {"properties": properties}
        if scores is not None:
            values["scores"] = scores
        self._entries.put(values)

    def forget(self) -> None:
        """Remove the choice that applies, if there is one."""
        self._entries.remove()


def _is_valid(entry: Entry) -> bool:
    properties, scores = entry.get("properties"), entry.get("scores", {})
    return (
        isinstance(properties, dict)
        and isinstance(scores, dict)
        and all(isinstance(value, PluginValue) for value in properties.values())
        and all(value is None or type(value) is float for value in scores.values())
    )
