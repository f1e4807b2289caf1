"""The entry of `server`. It imports little, so that Ctrl-C ends the start without a traceback."""

import os
import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    # A handler that raises would be caught, or printed, somewhere in the middle of an import.
    before = signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
    try:
        from server.cli.command import run

        return run(sys.argv[1:] if argv is None else argv)
    finally:
        signal.signal(signal.SIGINT, before)
