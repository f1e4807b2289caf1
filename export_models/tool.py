"""Runs a converter as a process of its own, its output in a log file."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ToolResult", "run_tool"]

POLL_S = 0.1
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ToolResult:
    """`return_code` is negative where a signal ended the tool; `log_path` is left if it failed."""

    return_code: int
    log: str
    log_path: Path


def run_tool(
    arguments: Sequence[str], environment: Mapping[str, str], on_output: Callable[[str], None]
) -> ToolResult:
    """Run `python arguments...`; `on_output` gets what it prints, or "", many times a second.

    The tool never outlives this function, nor, on Linux, this process.
    """
    with tempfile.NamedTemporaryFile(prefix="export_model-", suffix=".log", delete=False) as output:
        log_path = Path(output.name)
        process = subprocess.Popen(
            # -P: a file in the user's folder must not take the place of a library's module.
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            # Ctrl-C reaches this process alone, which then ends the tool in its own way.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    try:
        _follow(process, log_path, on_output)
    except BaseException:
        log_path.unlink()
        raise
    finally:
        process.kill()
        process.wait()
    log = log_path.read_text(encoding="utf-8", errors="replace")
    if process.returncode == 0:
        log_path.unlink()
    return ToolResult(process.returncode, log, log_path)


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
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
