"""A log record -> its text: a line for people, or a JSON object for machines."""

import json
import logging
import math
from datetime import UTC, datetime

from server.host.current_request import REQUEST_OF_RECORD, LoggedRequest

__all__ = ["JsonLines", "TextLines", "make_formatter"]

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def make_formatter(log_format: str) -> logging.Formatter:
    """The formatter that --log_format names."""
    return JsonLines() if log_format == "json" else TextLines(FORMAT)


class TextLines(logging.Formatter):
    """Ends the line with the id of the request that it is about, as the access log does."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        request = _request_of(record)
        if request is None or _fields_of(record):
            return line
        return f"{line} id={request.request_id}"


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII: no text of a client can break the line or its encoding."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _iso_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        request = _request_of(record)
        if request is not None:
            line |= request.log_members()
        line |= _fields_of(record)
        exception = "\n".join(text for text in (record.exc_text, record.stack_info) if text)
        if exception:
            line["exception"] = exception
        return json.dumps({name: _clean(value) for name, value in line.items()})


def _request_of(record: logging.LogRecord) -> LoggedRequest | None:
    return getattr(record, REQUEST_OF_RECORD, None)


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def _iso_time(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _clean(value: object) -> object:
    """A number, or text without lone surrogates, which are not allowed in JSON everywhere."""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value).encode(errors="backslashreplace").decode()
