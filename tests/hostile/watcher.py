"""The process of watch.py, as the command sees it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hostile.watch import Figures

__all__ = ["Watcher", "watching"]


class Watcher:
    """Asks for figures."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def take(self) -> Figures:
        """The figures since the last call. Raises RuntimeError if the server has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("mark\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the watcher has ended: is the server still there?")
        return Figures(**json.loads(line))


@contextmanager
def watching(port: int, pid: int) -> Iterator[Watcher]:
    """Watch a server while the block runs."""
    command = [sys.executable, str(Path(__file__).with_name("watch.py")), str(port), str(pid)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    try:
        yield Watcher(process)
    finally:
        process.kill()
        # What the process has not read cannot be written any more.
        with suppress(BrokenPipeError):
            process.communicate()
