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
from server.host.model_files import RECORD_FILE, text_model_file

logger = logging.getLogger(__name__)

SHOWN = (
    "passed",
    "skipped",
    "time",
    "longest",
    "max_difference",
    "served_difference",
    "notes",
    "source",
    "tokenizer",
)


def write_record(models_path: Path, outcome: dict[str, Any], version: str) -> None:
    """Keep an outcome, and of which model and by which versions it is. Raises OSError.

    `passed` is None where the model could not be verified: `skipped` says why then.
    """
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
        is_complete = record["passed"] in (True, False, None) and all(
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
    if record is None or record["passed"] is None:
        reason = "" if record is None else f" ({record.get('skipped')})"
        logger.warning(
            "%s: was not verified%s; `server --verify %s` compares its answers with those of the "
            "exported model",
            models_path,
            reason,
            models_path,
        )
    elif not record["passed"]:
        differences = "; ".join(record.get("differences") or ["no details are kept"])
        raise ModelLoadError(
            f"{models_path}: was verified on {record.get('time')}, and its answers are wrong: "
            f"{differences}; `server --verify {models_path}` verifies it again"
        )
    if record is None:
        return None
    _warn_of_tokenizer(models_path, record.get("tokenizer"))
    return {key: record.get(key) for key in SHOWN}


def _warn_of_tokenizer(models_path: Path, found: object) -> None:
    differences = found.get("differences") if isinstance(found, dict) else None
    if isinstance(differences, list) and differences:
        logger.warning(
            "%s: the tokenizer is not quite that of the source model: %s",
            models_path,
            "; ".join(map(str, differences)),
        )


def _fingerprint(models_path: Path) -> dict[str, Any]:
    """The graph and the size of the weights: to hash gigabytes would delay every start."""
    xml = text_model_file(models_path)
    return {
        "graph": hashlib.sha256(xml.read_bytes()).hexdigest(),
        "weights_bytes": xml.with_suffix(".bin").stat().st_size,
    }
