"""A server for one chat: it starts before, and ends with it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import ChatError
from server.host.child_processes import end_with_parent
from server.host.signals import release_signals, signals_held_back

__all__ = ["own_server"]

READY = "Serving on "
# It has nobody else to serve, and a load cannot be interrupted.
STOP_TIMEOUT_S = 2.0


@contextmanager
def own_server(model: Path) -> Iterator[str]:
    """Serve the folder on a free port of this machine; gives the URL. Raises ChatError."""
    if sys.stderr.isatty():
        print(f"Loading {model}", file=sys.stderr)
    flags = ["--rest_port", "0", "--log_level", "WARNING", "--drain_timeout_s", "0"]
    # What Ctrl-C raises at a fork is printed and forgotten.
    with signals_held_back():
        process = subprocess.Popen(
            # -P: a server.py in the current folder must not be taken for this package.
            [sys.executable, "-P", "-m", "server", str(model), *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C stops an answer, not the server.
            start_new_session=True,
            preexec_fn=_prepare if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    with process:
        try:
            assert process.stdout is not None
            # A node may print something while it is loaded.
            line = next((line for line in process.stdout if line.startswith(READY)), None)
            if line is None:
                raise ChatError(f"{model} could not be loaded; the lines above say why")
            yield line.removeprefix(READY).split()[0]
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _prepare() -> None:
    """Runs in the server: a chat that is killed cannot stop it."""
    release_signals()
    end_with_parent(signal.SIGTERM)
