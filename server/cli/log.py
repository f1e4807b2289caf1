"""Log lines and the progress bar are written by a thread of their own.

A reader that stops reading must not stop the server.
"""

import logging
import queue
import sys
import threading
from dataclasses import dataclass
from logging.handlers import QueueHandler, WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO

from server.errors import ConfigError
from server.terminal.flag_parser import AddFlag
from server.terminal.progress_bar import ProgressBar

__all__ = ["LogArguments", "LogWriter", "add_log_flags"]

logger = logging.getLogger(__name__)

TRACE = 5
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What nobody reads must not fill the memory either.
MAX_WAITING = 10_000
CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class LogArguments:
    """What the command line says about the log."""

    log_level: str
    log_path: Path | None


def add_log_flags(add: AddFlag) -> None:
    """Add the flags of a `LogArguments`."""
    add(
        "--log_level",
        type=str.upper,
        choices=LOG_LEVELS,
        default="INFO",
        help="How much to log: TRACE, DEBUG, INFO, WARNING or ERROR (default: INFO).",
    )
    add(
        "--log_path",
        type=Path,
        metavar="FILE",
        help="File to append the log to, besides standard error.",
    )


class _Stream(logging.StreamHandler[TextIO]):
    """Raises what writing raises; logging's own handler prints a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704 - logging calls this where it has caught the exception


class _File(WatchedFileHandler):
    """The same for a file."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704


class _Output:
    """A place for lines. It says once that it cannot be written to, and once that it can again."""

    def __init__(self, name: str, handler: logging.Handler) -> None:
        handler.setFormatter(logging.Formatter(FORMAT))
        self._name = name
        self._handler = handler
        self._num_lost = 0

    def write(self, record: logging.LogRecord) -> None:
        try:
            # `handle` would lock; only one thread writes.
            self._handler.emit(record)
        except Exception as error:
            # A full disk, a reader that has gone, a folder that was removed. The warning goes to
            # the other places.
            self._num_lost += 1
            if self._num_lost == 1:
                logger.warning("The log cannot be written to %s: %s", self._name, error)
            return
        if self._num_lost:
            lost, self._num_lost = self._num_lost, 0
            logger.warning("The log is written to %s again; %d lines are lost", self._name, lost)


class LogWriter(QueueHandler):
    """The root logger's handler, from construction to `close`.

    Other threads only put records into a queue: writing to a full pipe would block them, and the
    event loop is one of them.
    """

    queue: "queue.SimpleQueue[Any]"

    def __init__(self, level: str) -> None:
        # SimpleQueue is reentrant: a signal handler may log while its thread logs.
        super().__init__(queue.SimpleQueue())
        self._outputs = [_Output("standard error", _Stream(sys.stderr))]
        self._bar = ProgressBar(sys.stderr)
        self._num_lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()
        logging.addLevelName(TRACE, "TRACE")
        logging.getLogger().setLevel(TRACE if level == "TRACE" else level)
        logging.getLogger().addHandler(self)

    def add_file(self, path: Path) -> None:
        """Write to a file too; if it is moved away, a new one begins. Raises ConfigError."""
        try:
            self._outputs.append(_Output(str(path), _File(path, encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"--log_path {path}: {error.strerror}") from error

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand a record to the thread. A full queue drops it, and counts it."""
        if self.queue.qsize() < MAX_WAITING:
            self.queue.put(record)
        else:
            self._num_lost += 1

    @property
    def shows_progress(self) -> bool:
        """Whether standard error is a terminal, on which a bar can be drawn."""
        return self._bar.is_possible

    def show_progress(self, text: str, fraction: float) -> None:
        """Draw what is being done and the fraction of it that is done; 1 removes the bar."""
        if self.queue.qsize() < MAX_WAITING:
            self.queue.put((text, fraction))

    @property
    def is_stuck(self) -> bool:
        """Whether stderr still blocks the thread. Python's normal exit would wait for it."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write the rest, for at most a second. May be called again."""
        logging.getLogger().removeHandler(self)
        self.queue.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        super().close()

    def _write_all(self) -> None:
        while (item := self.queue.get()) is not None:
            if isinstance(item, logging.LogRecord):
                self._write(item)
            else:
                self._bar.show(*item)
        self._bar.clear()

    def _write(self, record: logging.LogRecord) -> None:
        self._bar.hide()
        for output in self._outputs:
            output.write(record)
        self._bar.draw()
        if self._num_lost and self.queue.empty():
            logger.warning("%d log lines were dropped: nobody read them", self._num_lost)
            self._num_lost = 0
