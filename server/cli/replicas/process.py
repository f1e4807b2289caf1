"""The process of one replica: starting it, and starting it again when it has ended."""

import asyncio
import json
import logging
import os
import pickle
import signal
import sys
import time

from server.api.replicas.backend import Backend
from server.cli.command_line import CommandLine
from server.cli.replicas.replica_settings import ReplicaSettings
from server.errors import ConfigError
from server.host.child_processes import python_path
from server.host.metrics import counter

__all__ = ["ReplicaProcess"]

logger = logging.getLogger("server")

RESTARTS = counter("front:restarts", "Replicas that were started again", "replica")

COMMAND = (sys.executable, "-P", "-m", "server.cli.replicas.replica")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# A replica that has run for so long is started again at once when it ends.
STEADY_S = 120.0
CHECK_INTERVAL_S = 0.5
# What a replica gets beyond the time after which it would end itself.
HUNG_MARGIN_S = 30.0


class ReplicaProcess:
    """A replica that is to run as long as the front does."""

    def __init__(self, settings: ReplicaSettings, line: CommandLine, backend: Backend) -> None:
        self._settings = settings
        self._line = line
        self._backend = backend
        self._process: asyncio.subprocess.Process | None = None
        self._started_s = 0.0

    async def start(self) -> None:
        """Start the process. Raises ConfigError."""
        settings = self._settings
        place = {"cpus": settings.place.cpus, "node": settings.place.node}
        start = {**place, "front": os.getpid(), "path": sys.path}
        try:
            # In this thread, which is the main one: the process ends with the thread.
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": python_path()},
                # Ctrl-C in a terminal is for the front.
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(f"{settings.label} cannot be started: {error}") from error
        self._started_s = self._backend.answered_s = time.monotonic()
        assert self._process.stdin is not None
        told = json.dumps(start).encode() + b"\n" + pickle.dumps((settings, self._line))
        self._process.stdin.write(told)
        self._process.stdin.close()

    async def keep_running(self) -> None:
        """Start the process again whenever it ends, until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            problem = await self.wait()
            self._backend.lose(problem)
            has_run_s = time.monotonic() - self._started_s
            pause_s = FIRST_PAUSE_S if has_run_s > STEADY_S else pause_s
            logger.error("%s: %s; it is started again in %g s", self._label, problem, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            RESTARTS.labels(str(self._settings.number)).inc()
            try:
                await self.start()
            except ConfigError as error:
                logger.error("%s", error)

    async def wait(self) -> str:
        """Wait for the end; returns how it ended. A process that does not answer is ended."""
        process = self._process
        assert process is not None
        ending = asyncio.create_task(process.wait())
        try:
            while not ending.done():
                await asyncio.wait([ending], timeout=CHECK_INTERVAL_S)
                if not ending.done() and self._is_hung():
                    logger.error("%s: does not answer, and is ended", self._label)
                    process.kill()
            return describe_end(process.pid, ending.result())
        finally:
            ending.cancel()

    def _is_hung(self) -> bool:
        limit_s = self._line.serving.stalled_loop_seconds
        silent_s = time.monotonic() - self._backend.answered_s
        return limit_s > 0 and silent_s > limit_s + HUNG_MARGIN_S

    async def stop(self, timeout_s: float) -> None:
        """Ask the process to end, and end it after that time."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            logger.warning("%s did not stop in %g s, and is ended", self._label, timeout_s)
            process.kill()
            await process.wait()

    @property
    def _label(self) -> str:
        return self._settings.label


def describe_end(pid: int, code: int) -> str:
    """How a process ended, from its exit status."""
    if code < 0:
        return f"its process {pid} was ended by {signal.Signals(-code).name}"
    return f"its process {pid} ended with exit status {code}"
