"""What tuning chose before, in a file beside the model."""

import hashlib
import json
import logging
import os
from typing import Any

import openvino as ov

from server.atomic_files import write_atomically
from server.engine.config import EngineConfig, PluginValue
from server.engine.model.model_files import MODEL_FILE

logger = logging.getLogger(__name__)

RECORD_FILE = ".auto_tune.json"
"""It starts with a dot, so that nobody takes it for a part of the model that has changed."""

MAX_ENTRIES = 16
Properties = dict[str, PluginValue]


class TuningRecord:
    """The choices for one model, each by what it holds for.

    That is the model's graph, the processor and the number of processors that may be used, the
    version of OpenVINO, the properties that were given, and what bounds the KV cache.
    """

    def __init__(self, config: EngineConfig, device: str) -> None:
        self._path = config.models_path / RECORD_FILE
        graph = (config.models_path / MODEL_FILE).read_bytes()
        stated = sorted(config.plugin_config.items())
        self._key = {
            "model": hashlib.sha256(graph).hexdigest(),
            "processor": str(ov.Core().get_property(device, "FULL_DEVICE_NAME")),
            "num_processors": len(os.sched_getaffinity(0)),
            "openvino": ov.get_version(),
            "plugin_config": {name: str(value) for name, value in stated},
            "cache": [config.cache_size, config.num_kv_blocks, config.max_num_seqs],
        }

    def find(self) -> Properties | None:
        """The choice that was made before; None where there is none."""
        for entry in self._entries():
            if entry["key"] == self._key:
                return dict(entry["properties"])
        return None

    def keep(self, properties: Properties) -> None:
        """Remember a choice; where that is not possible the next load tunes again."""
        others = [entry for entry in self._entries() if entry["key"] != self._key]
        entries = [*others, {"key": self._key, "properties": properties}][-MAX_ENTRIES:]
        try:
            write_atomically(self._path, json.dumps(entries, indent=1) + "\n")
        except OSError as error:
            logger.info("%s cannot be written (%s); the next load tunes again", self._path, error)

    def _entries(self) -> list[dict[str, Any]]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            return [entry for entry in entries if _is_entry(entry)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, RecursionError) as error:
            logger.warning("%s is of no use and will be replaced: %s", self._path, error)
            return []


def _is_entry(entry: Any) -> bool:
    if not (isinstance(entry, dict) and isinstance(entry.get("key"), dict)):
        return False
    properties = entry.get("properties")
    return isinstance(properties, dict) and all(
        isinstance(value, PluginValue) for value in properties.values()
    )
