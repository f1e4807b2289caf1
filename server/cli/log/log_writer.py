"""Hands log lines to threads that write them, one thread for each place.

A reader that stops reading must not stop the server.
"""

import copy
import logging
import sys
from pathlib import Path

from server.cli.log.line_forms import make_formatter
from server.cli.log.outputs import FileOutput, Output, StreamOutput
from server.cli.log.stray_errors import StrayErrors
from server.errors import ConfigError
from server.host.current_request import CURRENT_REQUEST, REQUEST_OF_RECORD

__all__ = ["LogWriter"]

TRACE = 5


class LogWriter(logging.Handler):
    """The root logger's handler, from construction to `close`.

    Threads that log only put records into queues: writing to a full pipe would block them, and the
    event loop is one of them. `label` is in every line: several processes may write to one file.
    """

    def __init__(self, level: str, log_format: str = "text", label: str = "") -> None:
        super().__init__()
        is_json = log_format == "json"
        self._formatter = make_formatter(log_format, label)
        self._stderr = StreamOutput(
            "standard error", sys.stderr, self._formatter, has_bar=not is_json
        )
        self._outputs: list[Output] = [self._stderr]
        self._stray_errors = StrayErrors() if is_json else None
        logging.addLevelName(TRACE, "TRACE")
        logging.getLogger().setLevel(TRACE if level == "TRACE" else level)
        logging.getLogger().addHandler(self)

    def add_file(self, path: Path) -> None:
        """Write to a file too; if it is moved away, a new one begins. Raises ConfigError."""
        try:
            self._outputs.append(FileOutput(path, self._formatter))
        except OSError as error:
            raise ConfigError(f"--log_path {path}: {error.strerror}") from error

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to each place."""
        prepared = self._prepare(record)
        for output in self._outputs:
            output.put(prepared)

    def _prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """A copy without arguments, which may change, and exceptions, which keep frames alive."""
        prepared = copy.copy(record)
        prepared.msg, prepared.args = _message_of(record), None
        if record.exc_info:
            # Formatted where it is logged, too.
            prepared.exc_text = record.exc_text or self._formatter.formatException(record.exc_info)
            prepared.exc_info = None
        request = CURRENT_REQUEST.get()
        # A copy: the threads write the line later, when the request knows more.
        setattr(prepared, REQUEST_OF_RECORD, copy.copy(request))
        return prepared

    @property
    def shows_progress(self) -> bool:
        """Whether standard error is a terminal, on which a bar can be drawn."""
        return self._stderr.shows_progress

    def show_progress(self, text: str, fraction: float) -> None:
        """Draw what is being done and the fraction of it that is done; 1 removes the bar."""
        self._stderr.show_progress(text, fraction)

    @property
    def is_stuck(self) -> bool:
        """Whether a place still blocks its thread. Python's normal exit would wait for it."""
        return any(output.is_stuck for output in self._outputs)

    def close(self) -> None:
        """Write the rest, for at most a second for each place. May be called again."""
        if self._stray_errors is not None:
            self._stray_errors.restore()
        # Standard error last: it takes what there is to say of the files.
        for output in reversed(self._outputs):
            output.close()
        logging.getLogger().removeHandler(self)
        super().close()


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        # logging would print a traceback between the lines.
        return f"{record.msg} (the values of this line cannot be formatted: {error!r:.200})"
