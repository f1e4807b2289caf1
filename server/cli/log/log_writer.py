"""Log lines and the progress bar are written by a thread of their own.

A reader that stops reading must not stop the server.
"""

import copy
import logging
import queue
import sys
import threading
from contextlib import suppress
from logging.handlers import QueueHandler, WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO

from server.cli.log.line_forms import make_formatter
from server.cli.log.stray_errors import StrayErrors
from server.errors import ConfigError
from server.host.current_request import CURRENT_REQUEST, REQUEST_OF_RECORD
from server.terminal.progress_bar import ProgressBar

__all__ = ["LogWriter"]

logger = logging.getLogger(__name__)

TRACE = 5
# What nobody reads must not fill the memory either.
MAX_WAITING = 10_000
CLOSE_TIMEOUT_S = 1.0


class _Stream(logging.StreamHandler[TextIO]):
    """Raises what writing raises; logging's own handler prints a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704 - logging calls this where it has caught the exception


class _File(WatchedFileHandler):
    """The same for a file."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704


def _file(path: Path) -> _File:
    # Not all text can be UTF-8: a client may send a lone surrogate.
    return _File(path, encoding="utf-8", errors="backslashreplace")


class _Output:
    """A place for lines. It says once that it cannot be written to, and once that it can again."""

    def __init__(self, name: str, handler: logging.Handler, formatter: logging.Formatter) -> None:
        handler.setFormatter(formatter)
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

    def close(self) -> None:
        # A full disk has been told of already.
        with suppress(OSError):
            if isinstance(self._handler, _File):
                self._handler.close()


class LogWriter(QueueHandler):
    """The root logger's handler, from construction to `close`.

    Other threads only put records into a queue: writing to a full pipe would block them, and the
    event loop is one of them. `label` is in every line: several processes may write to one file.
    """

    queue: "queue.SimpleQueue[Any]"

    def __init__(self, level: str, log_format: str = "text", label: str = "") -> None:
        # SimpleQueue is reentrant: a signal handler may log while its thread logs.
        super().__init__(queue.SimpleQueue())
        is_json = log_format == "json"
        # Formats exceptions where they are logged, too.
        self.setFormatter(make_formatter(log_format, label))
        self._outputs = [self._output("standard error", _Stream(sys.stderr))]
        self._bar = ProgressBar(sys.stderr, is_wanted=not is_json)
        self._stray_errors = StrayErrors() if is_json else None
        self._num_lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()
        logging.addLevelName(TRACE, "TRACE")
        logging.getLogger().setLevel(TRACE if level == "TRACE" else level)
        logging.getLogger().addHandler(self)

    def add_file(self, path: Path) -> None:
        """Write to a file too; if it is moved away, a new one begins. Raises ConfigError."""
        try:
            self._outputs.append(self._output(str(path), _file(path)))
        except OSError as error:
            raise ConfigError(f"--log_path {path}: {error.strerror}") from error

    def _output(self, name: str, handler: logging.Handler) -> _Output:
        assert self.formatter is not None
        return _Output(name, handler, self.formatter)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """A copy without arguments, which may change, and exceptions, which keep frames alive."""
        prepared = copy.copy(record)
        prepared.msg, prepared.args = _message_of(record), None
        if record.exc_info:
            assert self.formatter is not None
            prepared.exc_text = record.exc_text or self.formatter.formatException(record.exc_info)
            prepared.exc_info = None
        request = CURRENT_REQUEST.get()
        # A copy: the thread writes the line later, when the request knows more.
        setattr(prepared, REQUEST_OF_RECORD, copy.copy(request))
        return prepared

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
        if self._stray_errors is not None:
            self._stray_errors.restore()
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
        for output in self._outputs:
            output.close()

    def _write(self, record: logging.LogRecord) -> None:
        self._bar.hide()
        for output in self._outputs:
            output.write(record)
        self._bar.draw()
        if self._num_lost and self.queue.empty():
            logger.warning("%d log lines were dropped: nobody read them", self._num_lost)
            self._num_lost = 0


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        # logging would print a traceback between the lines.
        return f"{record.msg} (the values of this line cannot be formatted: {error!r:.200})"
