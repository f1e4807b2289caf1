"""`python -m server.engine.verification FOLDER`: verify one model, and keep a record beside it.

A process of its own: should the model crash it, whoever started it lives on and can say so. Prints
what it does; ends with one of the EXIT statuses.
"""

import logging
import sys
from pathlib import Path

from server.engine.model.verification_record import forget_record, read_record, write_record
from server.engine.verification.verify import Verification, verify
from server.errors import ServingError
from server.host.memory import available_bytes
from server.host.model_files import MODEL_FILE
from server.host.version import version

EXIT_PASSED, EXIT_DIFFERS, EXIT_UNUSABLE = 0, 1, 2

MEMORY_FACTOR = 3
"""Times the weights: the model as it is mapped, in the form it runs in, and what it computes."""


def main(folder: Path) -> int:
    """Verify the model in a folder, unless its record says that it has passed already."""
    # The log of an engine that serves nobody would only be in the way.
    logging.disable(logging.WARNING)
    try:
        return _verify(folder)
    except (ServingError, OSError) as error:
        print(f"{folder}: cannot be verified: {error}", flush=True)
        return EXIT_UNUSABLE


def _verify(folder: Path) -> int:
    record = read_record(folder)
    if record is not None and record["passed"]:
        print(f"{folder}: was verified on {record['time']} and has not changed since", flush=True)
        return EXIT_PASSED
    forget_record(folder)
    weights = (folder / MODEL_FILE).with_suffix(".bin")
    if weights.is_file() and MEMORY_FACTOR * weights.stat().st_size > available_bytes():
        print(f"{folder}: not verified; memory does not suffice for a second copy", flush=True)
        return EXIT_PASSED
    found = verify(folder, lambda part: print(f"verifying: {part}", flush=True))
    try:
        write_record(folder, found.as_dict(), version())
    except OSError as error:
        print(f"the outcome cannot be kept beside the model: {error}", flush=True)
    print(_summary(folder, found), flush=True)
    return EXIT_PASSED if found.has_passed else EXIT_DIFFERS


def _summary(folder: Path, found: Verification) -> str:
    notes = [f"  note: {note}" for note in found.notes]
    if not found.has_passed:
        lines = [f"{folder}: answers differ from those of the exported model:"]
        return "\n".join([*lines, *(f"  {difference}" for difference in found.differences), *notes])
    line = (
        f"{folder}: verified in {found.seconds:.0f} s. On {found.num_tokens} tokens, prompts of up "
        f"to {found.longest}, log probabilities differ by at most {found.max_difference:.1g} in "
        f"f32, and by {found.served_difference:.2g} on average in the precision of this device"
    )
    return "\n".join([line, *notes])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
