"""The entry of `server`. It imports little, so that Ctrl-C ends the start without a traceback."""

import os
import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    _fill_closed_streams()
    # A handler that raises would be caught, or printed, somewhere in the middle of an import.
    before = signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    finally:
        signal.signal(signal.SIGINT, before)


def _run(argv: Sequence[str]) -> int:
    """Each command imports only what it needs."""
    match argv[:1]:
        case ["chat"]:
            from server.cli.chat.chat_command import run_chat

            return run_chat(argv[1:])
        case ["top"]:
            from server.cli.top.top_command import run_top

            return run_top(argv[1:])
    from server.cli.command import run

    return run(argv)


def _fill_closed_streams() -> None:
    """Open what the caller has closed of standard input, output and error, as /dev/null.

    Else the next file or socket gets the number, and what a library writes to standard error goes
    into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    # Python prints nothing where standard output is None, and commands tell of it by that.
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace")  # noqa: SIM115
