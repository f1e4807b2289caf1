"""Where log lines go: standard error and files, each with a queue and a thread of its own.

One that hangs, a pipe that nobody reads or a file on a dead disk, does not stop the others.
"""

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from server.terminal.progress_bar import ProgressBar

__all__ = ["FileOutput", "Output", "StreamOutput"]

logger = logging.getLogger(__name__)

# What hangs must not fill the memory.
MAX_WAITING = 10_000
CLOSE_TIMEOUT_S = 1.0


class Output:
    """A place for lines. It says once that it cannot be written to, and once that it can again.

    It says so in the log, so the other places have those lines.
    """

    def __init__(self, name: str, handler: logging.Handler, formatter: logging.Formatter) -> None:
        handler.setFormatter(formatter)
        self._name = name
        self._handler = handler
        # SimpleQueue is reentrant: a signal handler may log while its thread logs.
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # The first is counted by those who log, the others by the thread: so no lock is needed.
        self._num_refused = 0
        self._num_refused_told = 0
        self._num_failed = 0
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, record: logging.LogRecord) -> None:
        """Have a record written. A full queue drops it, and counts it."""
        if self._is_full:
            self._num_refused += 1
            self._warn(f"{MAX_WAITING} lines wait already")
        else:
            self._tasks.put(lambda: self._write(record))

    @property
    def is_stuck(self) -> bool:
        """Whether writing still blocks the thread, after `close`."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write the rest, for at most a second. May be called again."""
        self._tasks.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)

    @property
    def _is_full(self) -> bool:
        return self._tasks.qsize() >= MAX_WAITING

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
        if not self._num_failed:
            self._tell_of_lost_lines()
        self._end()

    def _end(self) -> None:
        """What is left to do after the last line."""

    def _write(self, record: logging.LogRecord) -> None:
        try:
            self._emit(record)
        except Exception as error:
            # A full disk, a reader that has gone, a folder that was removed.
            self._num_failed += 1
            self._warn(error)
            return
        if self._num_failed or self._tasks.empty():
            self._tell_of_lost_lines()

    def _emit(self, record: logging.LogRecord) -> None:
        # `handle` would lock; only one thread writes.
        self._handler.emit(record)

    def _warn(self, reason: object) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("The log cannot be written to %s: %s", self._name, reason)

    def _tell_of_lost_lines(self) -> None:
        num_refused = self._num_refused
        num_lost = self._num_failed + num_refused - self._num_refused_told
        self._num_failed, self._num_refused_told = 0, num_refused
        self._is_failing = False
        if num_lost:
            logger.warning(
                "The log is written to %s again; %d lines are lost", self._name, num_lost
            )


class StreamOutput(Output):
    """Standard error, which may be a terminal with a progress bar below the lines."""

    def __init__(
        self, name: str, stream: TextIO, formatter: logging.Formatter, *, has_bar: bool
    ) -> None:
        self._bar = ProgressBar(stream, is_wanted=has_bar)
        super().__init__(name, _Stream(stream), formatter)

    @property
    def shows_progress(self) -> bool:
        """Whether this is a terminal, on which a bar can be drawn."""
        return self._bar.is_possible

    def show_progress(self, text: str, fraction: float) -> None:
        """Draw the bar, or with a fraction of 1 remove it."""
        if not self._is_full:
            self._tasks.put(lambda: self._draw(text, fraction))

    def _draw(self, text: str, fraction: float) -> None:
        # A terminal that has gone is told of by the next line.
        with suppress(OSError):
            self._bar.show(text, fraction)

    def _emit(self, record: logging.LogRecord) -> None:
        self._bar.hide()
        super()._emit(record)
        self._bar.draw()

    def _end(self) -> None:
        with suppress(OSError):
            self._bar.clear()


class FileOutput(Output):
    """A file. If it is moved away, a new one begins. Raises OSError."""

    def __init__(self, path: Path, formatter: logging.Formatter) -> None:
        super().__init__(str(path), _open(path), formatter)

    def _end(self) -> None:
        # A full disk has been told of already.
        with suppress(OSError):
            self._handler.close()


class _Stream(logging.StreamHandler[TextIO]):
    """Raises what writing raises; logging's own handler prints a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704 - logging calls this where it has caught the exception


class _File(WatchedFileHandler):
    """The same for a file."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704


def _open(path: Path) -> _File:
    # Not all text can be UTF-8: a client may send a lone surrogate.
    return _File(path, encoding="utf-8", errors="backslashreplace")
