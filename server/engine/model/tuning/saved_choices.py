"""What earlier loads have chosen or measured, in a file beside the model."""

import hashlib
import json
import logging
import os
from typing import Any

import openvino as ov

from server.engine.config import EngineConfig, PluginValue
from server.engine.model.tuning.candidates import Properties
from server.host.atomic_files import write_atomically
from server.host.cpu_features import has_int8_amx, has_vnni
from server.host.model_files import text_model_file
from server.host.openvino_core import shared_core

logger = logging.getLogger(__name__)

SAVED_FILE = ".auto_tune.json"
"""The leading dot keeps watchers from taking it for a changed part of the model."""

MAX_ENTRIES = 16

Scores = dict[str, float | None]
"""Properties as text -> time as a share of that without them; None where they do not run."""


class SavedChoices:
    """The choices for one model, each with a key that says when it applies.

    The key has the model's graph, the stated properties and what limits the KV cache, and of the
    machine the processor, its features, their number and OpenVINO's version. The processor's name
    alone is not enough: many virtual machines say just "Intel Xeon Processor".
    """

    def __init__(self, config: EngineConfig, device: str) -> None:
        self._path = config.models_path / SAVED_FILE
        graph = text_model_file(config.models_path).read_bytes()
        stated = sorted(config.plugin_config.items())
        self._key = {
            "model": hashlib.sha256(graph).hexdigest(),
            "processor": str(shared_core().get_property(device, "FULL_DEVICE_NAME")),
            "features": {"amx": has_int8_amx(), "vnni": has_vnni()},
            "num_processors": len(os.sched_getaffinity(0)),
            "openvino": ov.get_version(),
            "plugin_config": {name: str(value) for name, value in stated},
            "cache": [config.cache_size, config.num_kv_blocks, config.max_num_seqs],
        }

    def find(self) -> Properties | None:
        """The choice that applies; None where there is none, or tuning has not ended."""
        entry = self._entry()
        return None if entry is None or "scores" in entry else dict(entry["properties"])

    def find_scores(self) -> Scores:
        """What was measured by earlier loads that had no time for all candidates."""
        entry = self._entry() or {}
        return dict(entry.get("scores", {}))

    def keep(self, properties: Properties, scores: Scores | None = None) -> None:
        """Save a choice, or how far tuning has come: with `scores`, the next load goes on.

        Where the file cannot be written, the next load tunes again.
        """
        entry: dict[str, Any] = {"key": self._key, "properties": properties}
        if scores is not None:
            entry["scores"] = scores
        self._write([*self._others(), entry])

    def forget(self) -> None:
        """Remove the choice that applies, if there is one."""
        if self._entry() is not None:
            self._write(self._others())

    def _entry(self) -> dict[str, Any] | None:
        return next((entry for entry in self._read() if entry["key"] == self._key), None)

    def _others(self) -> list[dict[str, Any]]:
        return [entry for entry in self._read() if entry["key"] != self._key]

    def _read(self) -> list[dict[str, Any]]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            return [entry for entry in entries if _is_entry(entry)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, RecursionError) as error:
            logger.warning("%s is unusable and will be replaced: %s", self._path, error)
            return []

    def _write(self, entries: list[dict[str, Any]]) -> None:
        try:
            write_atomically(self._path, json.dumps(entries[-MAX_ENTRIES:], indent=1) + "\n")
        except OSError as error:
            logger.debug("%s cannot be written (%s); the next load tunes again", self._path, error)


def _is_entry(entry: Any) -> bool:
    if not (isinstance(entry, dict) and isinstance(entry.get("key"), dict)):
        return False
    properties, scores = entry.get("properties"), entry.get("scores", {})
    return (
        isinstance(properties, dict)
        and isinstance(scores, dict)
        and all(isinstance(value, PluginValue) for value in properties.values())
        and all(value is None or type(value) is float for value in scores.values())
    )
