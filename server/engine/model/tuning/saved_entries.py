"""A small JSON file beside a model: what was measured, once for each machine and setting."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openvino as ov

from server.engine.config import EngineConfig
from server.host.atomic_files import write_atomically
from server.host.cpu_features import has_int8_amx, has_vnni
from server.host.model_files import text_model_file
from server.host.openvino_core import shared_core

logger = logging.getLogger(__name__)

MAX_ENTRIES = 16

Entry = dict[str, Any]


def describe_case(config: EngineConfig, device: str) -> Entry:
    """The key of an entry: what has to be the same for its measurements to hold.

    It has the model's graph, the stated properties and what limits the KV cache, and of the
    machine the processor, its features, their number and OpenVINO's version. The processor's name
    alone is not enough: many virtual machines say just "Intel Xeon Processor".
    """
    graph = text_model_file(config.models_path).read_bytes()
    stated = sorted(config.plugin_config.items())
    return {
        "model": hashlib.sha256(graph).hexdigest(),
        "processor": str(shared_core().get_property(device, "FULL_DEVICE_NAME")),
        "features": {"amx": has_int8_amx(), "vnni": has_vnni()},
        "num_processors": len(os.sched_getaffinity(0)),
        "openvino": ov.get_version(),
        "plugin_config": {name: str(value) for name, value in stated},
        "cache": [config.cache_size, config.num_kv_blocks, config.max_num_seqs],
    }


class SavedEntries:
    """The entry of a file that has a key. `is_valid` checks what else an entry holds.

    Two servers may share a file: each write replaces it as a whole, so it is never half written,
    but of two writes at the same moment the later one counts.
    """

    def __init__(
        self, path: Path, key: Mapping[str, Any], is_valid: Callable[[Entry], bool]
    ) -> None:
        self._path = path
        self._key = dict(key)
        self._is_valid = is_valid

    def find(self) -> Entry | None:
        """The entry; None where there is none, or the file is unusable."""
        return next((entry for entry in self._read() if entry["key"] == self._key), None)

    def put(self, values: Entry) -> None:
        """Write the entry; where the file cannot be written, it is not kept."""
        self._write([*self._others(), {"key": self._key, **values}])

    def remove(self) -> None:
        """Remove the entry, if there is one."""
        if self.find() is not None:
            self._write(self._others())

    def _others(self) -> list[Entry]:
        return [entry for entry in self._read() if entry["key"] != self._key]

    def _read(self) -> list[Entry]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            return [entry for entry in entries if self._is_entry(entry)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, RecursionError) as error:
            logger.warning("%s is unusable and will be replaced: %s", self._path, error)
            return []

    def _is_entry(self, entry: Any) -> bool:
        if not (isinstance(entry, dict) and isinstance(entry.get("key"), dict)):
            return False
        return self._is_valid(entry)

    def _write(self, entries: list[Entry]) -> None:
        try:
            write_atomically(self._path, json.dumps(entries[-MAX_ENTRIES:], indent=1) + "\n")
        except OSError as error:
            logger.debug("%s cannot be written, and nothing is remembered: %s", self._path, error)
