"""The process of a contender, from start to end, and the time it needs to get ready."""

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from contender import BenchmarkError, Contender
from load_generator import run_conversations
from workloads import Conversation, Turn

HOST = "127.0.0.1"
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.1
# Ids that every model has.
FIRST_REQUEST = Conversation((Turn((5, 6, 7), 1),))


class ContenderProcess:
    """Starts a contender, knows where it listens, and measures its start and its memory."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.name = contender.name
        self.port = 0
        self.ready_s = 0.0
        self.peak_rss_mb = 0.0
        self.log = ""
        self._process: asyncio.subprocess.Process | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def pid(self) -> int:
        """The number of the process, which runs."""
        assert self._process is not None, "it was started"
        return self._process.pid

    async def start(self) -> None:
        """Start the process; return when it has answered a request."""
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        self.port = _find_free_port()
        launch = self.contender.prepare_launch(self.port, Path(self._folder.name))
        started = time.perf_counter()
        with self._log_path.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launch.command,
                env={**os.environ, **launch.environment},
                stdout=log,
                stderr=log,
                # Ctrl-C is for run.py, which then stops the process.
                start_new_session=True,
            )
        await self._wait_for_an_answer(started + READY_TIMEOUT_S)
        # The first start counts; a later one, after a failure, may find files in memory.
        self.ready_s = self.ready_s or time.perf_counter() - started

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let the process run during the block, and pause it and its children afterwards.

        Some idle servers keep a processor busy, which costs the others up to a quarter of theirs.
        """
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def stop(self) -> None:
        """End the process and its children; harmless when there are none."""
        self._signal(signal.SIGCONT)
        process, self._process = self._process, None
        if process is not None:
            self.peak_rss_mb = max(self.peak_rss_mb, read_rss_mb(process.pid, "VmHWM"))
            await _stop(process)
            self.log = self._log_path.read_text(errors="replace")
        if self._folder is not None:
            self._folder.cleanup()

    def read_log_end(self) -> str:
        """The last lines that the process wrote."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-20:])

    def read_rss_mb(self) -> float:
        """What the process and its children have in memory now."""
        return 0.0 if self._process is None else read_rss_mb(self._process.pid, "VmRSS")

    @property
    def _log_path(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "process.log"

    async def _wait_for_an_answer(self, deadline: float) -> None:
        assert self._process is not None
        while True:
            try:
                await run_conversations(HOST, self.port, self.contender.dialect, [FIRST_REQUEST])
            except (OSError, BenchmarkError) as error:
                problem = error
            else:
                return
            if self._process.returncode is not None or time.perf_counter() > deadline:
                raise BenchmarkError(
                    f"{self.name}: not ready (exit code {self._process.returncode}, {problem})\n"
                    f"{self.read_log_end()}"
                ) from problem
            await asyncio.sleep(POLL_S)


async def _stop(process: asyncio.subprocess.Process) -> None:
    # The process leads a group of its own: whatever it has started goes with it.
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def read_rss_mb(pid: int, field: Literal["VmRSS", "VmHWM"]) -> float:
    """Sum of the resident sizes, now or at most, of a process and its children, in 10^6 bytes.

    Pages that several of them share count several times.
    """
    return sum(_read_kb(each, field) for each in _iter_tree(pid)) * 1024 / 1e6


def _iter_tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from _iter_tree(int(child))


def _read_kb(pid: int, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
