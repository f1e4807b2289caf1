"""Runs `export_model`, and the verification of a model, as processes of their own."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from server.errors import ConfigError

__all__ = ["run_exporter", "run_verification"]

STOP_TIMEOUT_S = 30.0
POLL_S = 0.1


def run_exporter(task: str, arguments: Sequence[str]) -> None:
    """Run `export_model TASK` to its end. Raises ConfigError if it fails.

    A signal ends the exporter, which removes what it has begun, and then this process.
    """
    if _run("export_models.export_model", [task, *arguments]):
        raise ConfigError("the model could not be exported; the lines above say why")


def run_verification(folder: Path) -> int:
    """Verify the model in a folder; returns 0 if it has passed."""
    return _run("server.engine.verification", [str(folder)])


def _run(module: str, arguments: Sequence[str]) -> int:
    # -P: a server.py in the current folder must not be taken for this package.
    command = [sys.executable, "-P", "-m", module, *arguments]
    with _noted_signals() as received:
        # Standard output is for the line that says where the server is.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        while process.poll() is None and not received:
            _wait(process, POLL_S)
        if received:
            _stop(process)
            raise SystemExit(128 + received[0])
    return process.returncode


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    _wait(process, STOP_TIMEOUT_S)
    process.kill()
    process.wait()


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """The numbers of the signals that came; nothing is raised in the middle of anything."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
