"""A Python executable whose programs begin with torch and the converters imported.

An export starts half a dozen programs that each import these for seconds.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

__all__ = ["WARM_PYTHON"]

FOLDER = Path(__file__).parent
CLIENT = """#!{python} -ISE
import sys

sys.path.insert(0, {folder!r})
from client import main

main({socket!r})
"""


class WarmPython:
    """Starts the server at the first use; `close` ends it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._executable: str | None = None

    @property
    def executable(self) -> str:
        """Stands for the path of Python; its programs use it as well."""
        if self._executable is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self._start(folder / "socket")
            client = folder / "python"
            places = {"python": sys.executable, "folder": str(FOLDER)}
            client.write_text(CLIENT.format(**places, socket=str(folder / "socket")))
            client.chmod(0o700)
            self._executable = str(client)
        return self._executable

    @contextlib.contextmanager
    def as_executable(self) -> Iterator[None]:
        """Lets what starts `sys.executable` start programs this way."""
        with mock.patch.object(sys, "executable", self.executable):
            yield

    def close(self) -> None:
        """End the server."""
        self._executable = None
        self._stack.close()

    def _start(self, socket: Path) -> None:
        command = [sys.executable, FOLDER / "fork_server.py", socket]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # Read at the imports. Nothing here may ask the Hub, or report its use.
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CI": "true"}
        server = self._stack.enter_context(subprocess.Popen(command, env=environment, **pipes))
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"


WARM_PYTHON = WarmPython()
