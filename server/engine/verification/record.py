"""The record of the last verification, in a file beside the model."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openvino as ov

from server.host.atomic_files import write_atomically
from server.host.model_files import MODEL_FILE

RECORD_FILE = ".verified.json"
"""The leading dot keeps watchers from taking it for a changed part of the model."""


def write_record(models_path: Path, outcome: dict[str, Any], version: str) -> None:
    """Keep an outcome, and of which model and by which versions it is. Raises OSError."""
    record = {
        **outcome,
        "model": _fingerprint(models_path),
        "server": version,
        "openvino": ov.get_version(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(models_path / RECORD_FILE, json.dumps(record, indent=2) + "\n")


def read_record(models_path: Path) -> dict[str, Any] | None:
    """What was found of this very model; None where it was not verified, or has changed since."""
    try:
        record = json.loads((models_path / RECORD_FILE).read_text(encoding="utf-8"))
        is_current = record["model"] == _fingerprint(models_path)
        return record if is_current and isinstance(record["passed"], bool) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _fingerprint(models_path: Path) -> dict[str, Any]:
    """The graph and the size of the weights: to hash gigabytes would delay every start."""
    xml = models_path / MODEL_FILE
    return {
        "graph": hashlib.sha256(xml.read_bytes()).hexdigest(),
        "weights_bytes": xml.with_suffix(".bin").stat().st_size,
    }
