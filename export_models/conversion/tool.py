"""Runs a converter as its own process, with its output in a log file."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from server.host.child_processes import end_with_parent, python_path
from server.host.signals import release_signals, signals_held_back

__all__ = ["ToolResult", "run_tool"]

POLL_S = 0.1


@dataclass(frozen=True)
class ToolResult:
    """`return_code` is negative where a signal ended the tool; `log_path` is left if it failed."""

    return_code: int
    log: str
    log_path: Path


def run_tool(
    arguments: Sequence[str], environment: Mapping[str, str], on_output: Callable[[str], None]
) -> ToolResult:
    """Run `python arguments...`; `on_output` gets its new output, perhaps "", many times a second.

    The tool ends with this function at the latest and, on Linux, with this process.
    """
    with ExitStack() as cleanup:
        # Python prints and drops an exception of a handler that runs at a fork: the tool would
        # go on.
        with signals_held_back():
            process, log_path = _start(arguments, environment)
            cleanup.callback(log_path.unlink)
            cleanup.callback(_end, process)
        _follow(process, log_path, on_output)
        log = log_path.read_text(encoding="utf-8", errors="replace")
        if process.returncode != 0:
            # Keep the log: the error message names it.
            cleanup.pop_all()
    return ToolResult(process.returncode, log, log_path)


def _start(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Path]:
    with tempfile.NamedTemporaryFile(prefix="export_model-", suffix=".log", delete=False) as output:
        process = subprocess.Popen(
            # -P: files in the current folder must not shadow modules.
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONPATH": python_path(),
                "PYTHONUNBUFFERED": "1",
                # The log is read as UTF-8, whatever the locale; bars are not ASCII.
                "PYTHONIOENCODING": "utf-8",
                **environment,
            },
            # Ctrl-C must reach this process only, which then ends the tool.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    return process, Path(output.name)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _follow(
    process: subprocess.Popen[bytes], log_path: Path, on_output: Callable[[str], None]
) -> None:
    with log_path.open(encoding="utf-8", errors="replace") as log:
        while True:
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                on_output(log.read())
            else:
                on_output(log.read())
                return


def _die_with_parent() -> None:
    """Runs in the tool: a parent that is killed cannot end the tool itself."""
    release_signals()
    end_with_parent()
