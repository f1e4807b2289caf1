"""A log record -> its text: a line for people, or a JSON object for machines."""

import json
import logging
import math
from datetime import UTC, datetime

from server.host.current_request import REQUEST_OF_RECORD, LoggedRequest

__all__ = ["JsonLines", "TextLines", "make_formatter"]

FORMAT = "%(asctime)s %(levelname)s {label}%(name)s: %(message)s"


def make_formatter(log_format: str, label: str = "") -> logging.Formatter:
    """The formatter that --log_format names. `label` says which process writes, if it has one."""
    if log_format == "json":
        return JsonLines(label)
    return TextLines(FORMAT.format(label=label and f"[{label}] "))


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

    def __init__(self, label: str = "") -> None:
        super().__init__()
        self._members = {"process": label} if label else {}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _iso_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._members,
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
