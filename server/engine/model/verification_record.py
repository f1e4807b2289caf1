"""The record of the last verification, in a file beside the model."""

import hashlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openvino as ov

from server.errors import ModelLoadError
from server.host.atomic_files import write_atomically
from server.host.model_files import MODEL_FILE

logger = logging.getLogger(__name__)

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
        is_complete = isinstance(record["passed"], bool) and all(
            isinstance(difference, str) for difference in record["differences"]
        )
        return record if is_current and is_complete else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def forget_record(models_path: Path) -> None:
    """Let the model be loaded whatever was found of it before. Raises OSError."""
    (models_path / RECORD_FILE).unlink(missing_ok=True)


def describe_verification(models_path: Path) -> dict[str, Any] | None:
    """What operators want to know of the record; None for a model that was not verified.

    Raises ModelLoadError for a model that has not passed.
    """
    record = read_record(models_path)
    if record is None:
        logger.warning(
            "%s: was not verified; `server --verify %s` compares its answers with those of the "
            "exported model",
            models_path,
            models_path,
        )
        return None
    if not record["passed"]:
        differences = "; ".join(record.get("differences") or ["no details are kept"])
        raise ModelLoadError(
            f"{models_path}: was verified on {record.get('time')}, and its answers are wrong: "
            f"{differences}; `server --verify {models_path}` verifies it again"
        )
    return {key: record.get(key) for key in ("time", "longest", "max_difference", "notes")}


def _fingerprint(models_path: Path) -> dict[str, Any]:
    """The graph and the size of the weights: to hash gigabytes would delay every start."""
    xml = models_path / MODEL_FILE
    return {
        "graph": hashlib.sha256(xml.read_bytes()).hexdigest(),
        "weights_bytes": xml.with_suffix(".bin").stat().st_size,
    }
