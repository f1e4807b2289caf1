"""A pipeline in a process of its own, so that a crash in its library does not end the server."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import inf
from multiprocessing import Pipe
from queue import Empty, SimpleQueue
from typing import Any

from calculators.media.worker import Load
from server.errors import GenerationError, ModelLoadError, ModelNotReadyError
from server.host.child_processes import python_path
from server.host.watch import WatchedService

__all__ = ["PipelineProcess"]

logger = logging.getLogger(__name__)

STDERR = 2
POLL_S = 0.05
# How long a request that nobody wants any more may go on before its process is killed. Most end
# earlier, at their next token or step, and keep the loaded model.
GRACE_S = 10.0
# So many times in a row a process may end without having served a request.
MAX_UNUSED_STARTS = 3

Inbox = SimpleQueue[tuple[str, Any]]


class PipelineProcess:
    """Runs requests one at a time in a child process, which is started again when it ends.

    Raises what `load` raises in the child, and ModelLoadError if the child ends meanwhile.
    """

    def __init__(self, load: Load, name: str) -> None:
        self._load = load
        self._name = name
        self._facts: Mapping[str, object] = {}
        self._changed = threading.Condition()
        self._child: _Child | None = None
        self._has_loaded = False
        self._is_ready = False
        self._is_over = False
        self._failure: str | None = None
        self._load_error: Exception | None = None
        self._num_restarts = 0
        self._num_unused_starts = 0
        self._watch = WatchedService(name, self._give_up)
        # What the request that runs gets from the child.
        self._inbox: Inbox | None = None
        # The child ends with the thread that started it, so this one starts every child.
        self._keeper = threading.Thread(target=self._keep, name=f"{name}-process", daemon=True)
        self._keeper.start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_ready or self._is_over)
        if self._load_error is not None:
            raise self._load_error

    def run(
        self,
        request: object,
        cancelled: threading.Event,
        on_piece: Callable[[str], None] | None = None,
        size: float = 1.0,
    ) -> Any:
        """The result of a request; for one thread at a time. `on_piece` gets text as it comes.

        `size`, in any unit, is how much work it is: a process that hangs, judged by the time that
        earlier work took, is killed.

        A request that is cancelled ends early; its process is killed if it does not end in GRACE_S
        seconds. Raises what the pipeline raises, GenerationError if the process ends, and
        ModelNotReadyError if it cannot be started any more.
        """
        inbox: Inbox = SimpleQueue()
        child = self._begin(inbox, cancelled)
        answer: tuple[str, Any] | None = None
        try:
            with self._watch.step(max(size, 1.0)):
                child.send("run", request)
                for kind, value in self._messages(child, inbox, cancelled):
                    if kind != "piece":
                        answer = kind, value
                        break
                    if on_piece is not None:
                        on_piece(value)
        finally:
            if answer is None:
                # Of this request nothing may reach the next one.
                self._kill(child)
                while inbox.get()[0] == "piece":
                    pass
            self._inbox = None
        assert answer is not None, "messages end with an answer"
        kind, value = answer
        if kind == "error":
            raise value
        return value

    def health(self) -> str | None:
        """Why the model cannot serve now; None if it can."""
        return self._failure

    def status(self) -> Mapping[str, object]:
        """What `load` told of the model, the process, and how often it was started again."""
        child = self._child
        pid = None if child is None else child.pid
        return {**self._facts, "pid": pid, "restarts": self._num_restarts}

    def close(self) -> None:
        """End the process."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            if self._child is not None:
                self._child.kill()
        self._keeper.join()
        self._watch.close()

    def _begin(self, inbox: Inbox, cancelled: threading.Event) -> "_Child":
        """The child, when it is ready for a request."""
        with self._changed:
            while not (self._is_ready or self._is_over or cancelled.is_set()):
                self._changed.wait(POLL_S)
            if cancelled.is_set():
                raise GenerationError("the request was cancelled")
            if not self._is_ready:
                raise ModelNotReadyError(self._failure or "the model is closed")
            assert self._child is not None
            self._inbox = inbox
            return self._child

    def _messages(
        self, child: "_Child", inbox: Inbox, cancelled: threading.Event
    ) -> Iterator[tuple[str, Any]]:
        """What arrives for a request; its end is an error if the child ends."""
        kill_at = inf
        while True:
            if cancelled.is_set() and kill_at == inf:
                child.send("cancel")
                kill_at = time.monotonic() + GRACE_S
            if time.monotonic() > kill_at:
                self._kill(child)
            with suppress(Empty):
                yield inbox.get(timeout=POLL_S)

    def _give_up(self, reason: str) -> None:
        """Kill a child that hangs; another one is started in its place."""
        with self._changed:
            child = self._child
            self._failure = f"the process of the model was killed: {reason}"
        if child is not None:
            self._kill(child)

    def _kill(self, child: "_Child") -> None:
        """End a child; the next request waits for the one that takes its place."""
        with self._changed:
            if self._child is child:
                self._is_ready = False
        child.kill()

    def _keep(self) -> None:
        """Start the child, follow it to its end, and start the next one."""
        while not self._is_over:
            error: Exception | None = None
            was_killed = False
            try:
                child = _Child()
                try:
                    error = self._follow(child)
                finally:
                    was_killed, ended = child.was_killed, child.end()
            except Exception as found:
                logger.exception("%s: the process cannot be started", self._name)
                error = ModelLoadError(f"the process of the model cannot be started: {found}")
            if error is None:
                error = ModelLoadError(f"the process that runs the model ended: {ended}")
            self._note_end(error, was_killed=was_killed)

    def _follow(self, child: "_Child") -> Exception | None:
        """Pass on what a child sends until it ends; returns why it could not load."""
        with self._changed:
            self._child = child
            if self._is_over:
                child.kill()
        child.send("load", self._load)
        messages = child.messages()
        for kind, value in messages:
            if kind == "error":
                assert isinstance(value, Exception)
                return value
            with self._changed:
                self._facts, self._failure = value, None
                self._has_loaded = self._is_ready = True
                self._changed.notify_all()
            break
        for kind, value in messages:
            if kind != "piece":
                self._num_unused_starts = 0
            if (inbox := self._inbox) is not None:
                inbox.put((kind, value))
        return None

    def _note_end(self, error: Exception, *, was_killed: bool) -> None:
        """Tell the request that runs, and decide whether another child is started."""
        with self._changed:
            inbox = self._inbox
            self._child, self._is_ready = None, False
            problem = str(error)
            if not self._has_loaded:
                self._load_error = error
                self._is_over = True
            elif not self._is_over:
                is_vain = inbox is None and not was_killed
                self._num_unused_starts = self._num_unused_starts + 1 if is_vain else 0
                problem = self._plan_restart(problem)
                # After a request that was cancelled, others only wait.
                if self._is_over or not was_killed:
                    self._failure = problem
                    logger.error("%s: %s", self._name, problem)
            if inbox is not None:
                inbox.put(("error", GenerationError(problem)))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_over, timeout=self._num_unused_starts)

    def _plan_restart(self, problem: str) -> str:
        """Returns the problem, and what is done about it."""
        if self._num_unused_starts >= MAX_UNUSED_STARTS:
            self._is_over = True
            return f"{problem}; it is not started again: it ended {MAX_UNUSED_STARTS} times unused"
        self._num_restarts += 1
        return f"{problem}; it is started again"


class _Child:
    """A process that runs calculators/media/worker.py."""

    def __init__(self) -> None:
        self.was_killed = False
        self._connection, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                # -P: files in the current folder must not shadow modules.
                [sys.executable, "-P", "-m", "calculators.media.worker", str(number)],
                stdin=subprocess.DEVNULL,
                stdout=STDERR,
                env={**os.environ, "PYTHONPATH": python_path()},
                pass_fds=(number,),
                # Ctrl-C must reach the parent only.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def send(self, kind: str, value: object = None) -> None:
        """Send a message; nothing happens if the process has ended."""
        with suppress(OSError):
            self._connection.send((kind, value))

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What the process sends, until it ends."""
        with suppress(EOFError, OSError):
            while True:
                kind, value = self._connection.recv()
                if kind == "log":
                    name, level, text = value
                    logging.getLogger(name).log(level, "%s", text)
                else:
                    yield kind, value

    def kill(self) -> None:
        """End the process without waiting for it."""
        self.was_killed = True
        self._process.kill()

    def end(self) -> str:
        """End the process if it has not ended; returns how it ended."""
        self._process.kill()
        code = self._process.wait()
        self._connection.close()
        if code >= 0:
            return f"exit code {code}"
        return f"signal {signal.Signals(-code).name}"
