"""`python -m server.engine.verification FOLDER`: verify one model, and keep a record beside it.

A process of its own: if the model crashes it, the process that started it goes on and reports it.
Prints what it does; ends with one of the EXIT statuses. An export adds EXCHANGE, the folder
described in source.py, and calls twice: first with --prompts, which only writes prompts for torch.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.engine.model.verification_record import forget_record, read_record, write_record
from server.engine.verification.source import SOURCE_FILE, TOKENIZER_FILE, read_exchanged
from server.engine.verification.verify import Verification, prepare, verify
from server.errors import ServingError
from server.host.memory import available_bytes
from server.host.model_files import text_model_file
from server.host.version import version

EXIT_PASSED, EXIT_DIFFERS, EXIT_UNUSABLE = 0, 1, 2

MEMORY_FACTOR = 3
"""Times the weights: the model as it is mapped, in the form it runs in, and what it computes."""

GIB = 2**30


def main(arguments: list[str]) -> int:
    """Verify the model in a folder, unless its record says that it has passed already."""
    # An engine that serves no client needs no log.
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(prog="server.engine.verification")
    parser.add_argument("folder", type=Path)
    parser.add_argument("exchange", type=Path, nargs="?")
    parser.add_argument("--prompts", action="store_true")
    values = parser.parse_args(arguments)
    folder: Path = values.folder
    try:
        if values.prompts:
            prepare(folder, values.exchange)
            return EXIT_PASSED
        return _verify(folder, values.exchange)
    except (ServingError, OSError) as error:
        print(f"{folder}: cannot be verified: {error}", flush=True)
        return EXIT_UNUSABLE


def _verify(folder: Path, exchange: Path | None) -> int:
    record = read_record(folder)
    if record is not None and record["passed"]:
        print(f"{folder}: was verified on {record['time']} and has not changed since", flush=True)
        return EXIT_PASSED
    known = _known_of_source(record, exchange)
    forget_record(folder)
    if (lack := _lack_of_memory(folder)) is not None:
        print(f"{folder}: not verified: {lack}", flush=True)
        passed = None if not _faults(known) else False
        _keep(folder, {"passed": passed, "skipped": lack, "differences": _faults(known), **known})
        return EXIT_PASSED if passed is None else EXIT_DIFFERS
    found = verify(folder, lambda part: print(f"verifying: {part}", flush=True), exchange)
    outcome = found.as_dict()
    outcome["source"] = {**(known.pop("source", None) or {}), **(outcome["source"] or {})} or None
    outcome |= known
    outcome["differences"] += _faults(outcome)
    outcome["passed"] = not outcome["differences"]
    _keep(folder, outcome)
    print("\n".join(_summary(folder, found, outcome)), flush=True)
    return EXIT_PASSED if outcome["passed"] else EXIT_DIFFERS


def _known_of_source(record: dict[str, Any] | None, exchange: Path | None) -> dict[str, Any]:
    """What this or an earlier export found of the same model; only an export has the source."""
    if exchange is None:
        return {key: record.get(key) for key in ("source", "tokenizer")} if record else {}
    return {
        "source": read_exchanged(exchange, SOURCE_FILE),
        "tokenizer": read_exchanged(exchange, TOKENIZER_FILE),
    }


def _faults(known: dict[str, Any]) -> list[str]:
    """Why the model must not be served, as far as the export knows."""
    parts = [known.get(key) or {} for key in ("source", "tokenizer")]
    return [fault for part in parts for fault in part.get("faults", [])]


def _lack_of_memory(folder: Path) -> str | None:
    weights = text_model_file(folder).with_suffix(".bin")
    needed = MEMORY_FACTOR * weights.stat().st_size if weights.is_file() else 0
    if needed <= available_bytes():
        return None
    return (
        f"memory does not suffice for a second copy of the model: {needed / GIB:.1f} GiB are "
        f"needed, {available_bytes() / GIB:.1f} GiB are free"
    )


def _keep(folder: Path, outcome: dict[str, Any]) -> None:
    try:
        write_record(folder, outcome, version())
    except OSError as error:
        print(f"the outcome cannot be kept beside the model: {error}", flush=True)


def _summary(folder: Path, found: Verification, outcome: dict[str, Any]) -> Iterator[str]:
    if outcome["passed"]:
        yield (
            f"{folder}: verified in {found.seconds:.0f} s. On {found.num_tokens} tokens, prompts "
            f"of up to {found.longest}, log probabilities differ by at most "
            f"{found.max_difference:.1g} in f32, and by {found.served_difference:.2g} on average "
            "in the precision of this device"
        )
    else:
        yield f"{folder}: answers differ from those of the exported model, or of its source:"
        yield from (f"  {difference}" for difference in outcome["differences"])
    yield from (f"  {line}" for line in _source_lines(found, outcome["source"]))
    yield from (f"  note: {note}" for note in found.notes)


def _source_lines(found: Verification, known: dict[str, Any] | None) -> Iterator[str]:
    if (source := found.source) is not None:
        yield (
            f"compared with its source in torch on {source.num_tokens} tokens, prompts of up to "
            f"{source.longest}: with {source.precision} weights, log probabilities differ by at "
            f"most {source.max_difference:.2g}, and by {source.mean_difference:.2g} on average"
        )
    if known is not None:
        yield from (f"note: {note}" for note in known.get("notes", []))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
