"""Renders templates in child processes, which the operating system bounds."""

import atexit
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, Any

from calculators.chat_template.render_job import ANSWER_HEAD, READY, TEXT_HEAD, JobHeader, Status
from server.errors import ModelNotReadyError
from server.host.child_processes import python_path

__all__ = ["DEFAULT_TIME_LIMIT_S", "RenderFailure", "TemplateSource"]

DEFAULT_TIME_LIMIT_S = 2.0
MAX_PROCESSES = 4
# So many of one template, so that a slow template leaves processes for others.
MAX_PROCESSES_OF_TEMPLATE = 2
MAX_WAIT_S = 20.0
# A child ends itself when it has used its time. This much later it must have ended, even where
# other programs take the processor.
GRACE_S = 5.0
# A process takes 0.1 s to start on an idle machine.
START_TIMEOUT_S = 60.0
# Pickling holds Python's lock, and the event loop waits for it.
ITEMS_AT_ONCE = 64
STDERR = 2


class RenderFailure(Exception):
    """A template could not be rendered; `status` is not OK."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status

    def of(self, what: str) -> str:
        """The message about a template that is called so, with the line of a syntax error."""
        if self.status is not Status.SYNTAX:
            return f"{what}: {self}"
        line, _, problem = str(self).partition(": ")
        return f"{line} of {what}: {problem}"


class _ProcessEnded(RenderFailure):
    """The process ended in the middle of a job, and not by its time limit."""


class TemplateSource:
    """A template, rendered in a process of its own. Threads may share it; its methods block.

    All methods raise RenderFailure for what the template does, and ModelNotReadyError when too many
    renderings wait. A rendering that takes longer than `time_limit_s` is stopped.
    """

    def __init__(self, source: str, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> None:
        self._source = source
        self._time_limit_s = time_limit_s
        self._turns = threading.BoundedSemaphore(MAX_PROCESSES_OF_TEMPLATE)

    def names(self) -> Sequence[str]:
        """Compile it; returns the names of the variables that it reads."""
        return self._run(JobHeader(self._source, datetime.now(), self._time_limit_s), {})

    def render(
        self,
        variables: Mapping[str, Any],
        now: datetime,
        lists: Mapping[str, Sequence[Any]] | None = None,
    ) -> str:
        """The text. `lists` are variables whose items may be large."""
        return self._render([variables], now, lists or {})[0]

    def render_many(self, variable_sets: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """A text for each set of variables; the limits are for all of them together."""
        return self._render(variable_sets, datetime.now(), {})

    def _render(
        self,
        variable_sets: Sequence[Mapping[str, Any]],
        now: datetime,
        lists: Mapping[str, Sequence[Any]],
    ) -> Sequence[str]:
        slices = {
            name: [items[i : i + ITEMS_AT_ONCE] for i in range(0, len(items), ITEMS_AT_ONCE)]
            for name, items in lists.items()
        }
        lengths = {name: len(found) for name, found in slices.items()}
        sets = tuple(map(dict, variable_sets))
        return self._run(JobHeader(self._source, now, self._time_limit_s, sets, lengths), slices)

    def _run(self, header: JobHeader, slices: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        if not self._turns.acquire(timeout=MAX_WAIT_S):
            raise ModelNotReadyError("too many conversations wait for the chat template")
        try:
            with suppress(_ProcessEnded), _pool.borrow() as process:
                return process.run(header, slices)
            # Someone may have ended it; if the template did, it does so again.
            with _pool.borrow() as process:
                return process.run(header, slices)
        finally:
            self._turns.release()


class _Pool:
    """The processes of this server; they are started when they are needed."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(MAX_PROCESSES)
        self._idle: list[_Process] = []

    @contextmanager
    def borrow(self) -> Iterator["_Process"]:
        """A process for one job; it is not used again if the job fails."""
        if not self._places.acquire(timeout=MAX_WAIT_S):
            raise ModelNotReadyError("too many conversations wait for chat templates")
        try:
            process = self._take()
            try:
                yield process
            finally:
                if process.is_usable:
                    self._idle.append(process)
                else:
                    process.end()
        finally:
            self._places.release()

    def close(self) -> None:
        """End the idle ones; the others end with the server."""
        while self._idle:
            self._idle.pop().end()

    def _take(self) -> "_Process":
        # The last one that was used, so that few are ever started.
        with suppress(IndexError):
            while True:
                process = self._idle.pop()
                if process.is_running():
                    return process
                process.end()
        return _Process()


class _Process:
    """A process that runs render_worker.py. It ends when this end of the connection closes."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            worker = "calculators.chat_template.render_worker"
            self._process = subprocess.Popen(
                # -P: files in the current folder must not shadow modules.
                [sys.executable, "-P", "-m", worker, str(number)],
                stdin=subprocess.DEVNULL,
                stdout=STDERR,
                env={**os.environ, "PYTHONPATH": python_path()},
                pass_fds=(number,),
                # Ctrl-C must reach the parent only.
                start_new_session=True,
            )
        self._inbox: IO[bytes] = self._connection.makefile("rb")
        self._outbox: IO[bytes] = self._connection.makefile("wb")
        self._is_ready = False
        self.is_usable = True

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def run(self, header: JobHeader, slices: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """Do a job; raises RenderFailure."""
        self.is_usable = False
        try:
            self._wait_until_ready()
            self._connection.settimeout(header.time_limit_s + GRACE_S)
            pickle.dump(header, self._outbox, pickle.HIGHEST_PROTOCOL)
            for items in slices.values():
                for some in items:
                    pickle.dump(some, self._outbox, pickle.HIGHEST_PROTOCOL)
            self._outbox.flush()
            status, texts = self._read_answer()
        except (OSError, EOFError) as error:
            raise self._failure(header.time_limit_s) from error
        # After so much memory, a new process is smaller.
        self.is_usable = status not in (Status.LIMIT, Status.TOO_LONG)
        if status is not Status.OK:
            raise RenderFailure(status, texts[0])
        return texts

    def _wait_until_ready(self) -> None:
        if not self._is_ready:
            self._connection.settimeout(START_TIMEOUT_S)
            self._read(len(READY))
            self._is_ready = True

    def end(self) -> int:
        """End the process; returns its exit code."""
        self._process.kill()
        code = self._process.wait()
        for file in (self._inbox, self._outbox, self._connection):
            with suppress(OSError):
                file.close()
        return code

    def _read_answer(self) -> tuple[Status, list[str]]:
        status, num_texts = ANSWER_HEAD.unpack(self._read(ANSWER_HEAD.size))
        texts = []
        for _ in range(num_texts):
            (size,) = TEXT_HEAD.unpack(self._read(TEXT_HEAD.size))
            texts.append(self._read(size).decode("utf-8", "surrogatepass"))
        return Status(status), texts

    def _read(self, size: int) -> bytes:
        found = self._inbox.read(size)
        if len(found) < size:
            raise EOFError
        return found

    def _failure(self, time_limit_s: float) -> RenderFailure:
        """Why there is no answer, told from how the process ended."""
        code = self._process.poll()
        if code is None:
            # Its memory is given back after the connection is closed.
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(GRACE_S)
        if code is None and not self._is_ready:
            return _ProcessEnded(
                Status.LIMIT,
                f"the process that renders it needs over {START_TIMEOUT_S:g} s to start",
            )
        if code in (-signal.SIGPROF, None):
            return RenderFailure(Status.LIMIT, f"it takes more than {time_limit_s:g} seconds")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return _ProcessEnded(Status.LIMIT, f"the process that renders it ended: {how}")


_pool = _Pool()
atexit.register(_pool.close)
