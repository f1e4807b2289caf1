"""A terminal with a program in it."""

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TIMEOUT_S = 200.0


class Terminal:
    """`shown` is all that the program has written."""

    def __init__(self, pid: int, master: int) -> None:
        self.pid = pid
        self.shown = ""
        self._master = master
        self._position = 0

    def type(self, text: str) -> None:
        """Press keys; \\x03 is Ctrl-C, \\x04 is Ctrl-D."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until the text appears after what was found before; returns what came until then."""
        end = time.monotonic() + TIMEOUT_S
        while (found := self.shown.find(text, self._position)) < 0:
            assert time.monotonic() < end, f"no {text!r} in {self.shown[self._position :]!r}"
            assert self._read(), f"no {text!r} before the end: {self.shown[self._position :]!r}"
        before = self.shown[self._position : found]
        self._position = found + len(text)
        return before

    def wait(self) -> int:
        """Read to the end; returns the exit status."""
        end = time.monotonic() + TIMEOUT_S
        while self._read():
            assert time.monotonic() < end, f"no end after {self.shown[-200:]!r}"
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def close_window(self) -> int:
        """Close the terminal, as closing its window does; returns the program's exit status."""
        self.hide()
        return self.wait_for_end()

    def hide(self) -> None:
        """Close the terminal, whatever the program does then."""
        os.close(self._master)

    def wait_for_end(self) -> int:
        """Wait for the end without a terminal to read from; returns the exit status."""
        end = time.monotonic() + TIMEOUT_S
        while (found := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < end, "the program goes on without its terminal"
            time.sleep(0.05)
        return os.waitstatus_to_exitcode(found[1])

    def _read(self) -> bool:
        """Read what is there, or wait a moment; returns False at the end."""
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def terminal(*arguments: str | Path, **environment: str) -> Iterator[Terminal]:
    """Run `server` with these arguments in a terminal; it is killed at the end if it still runs."""
    command = [sys.executable, "-m", "server", *map(str, arguments)]
    # A size that another test or library has set would hide that of the terminal. "dumb" is without
    # escape codes around each prompt.
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment = {**inherited, "TERM": "dumb", **environment}
    master, slave = os.openpty()
    # Not pty.fork: this process has threads of gRPC, which do not outlive a fork. What a new
    # session opens first becomes its terminal.
    streams: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    pid = os.posix_spawn(command[0], command, environment, file_actions=streams, setsid=True)
    os.close(slave)
    try:
        yield Terminal(pid, master)
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        with suppress(OSError):
            os.close(master)
