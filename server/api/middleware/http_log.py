"""aiohttp's own log, without tracebacks for the broken HTTP of clients."""

import logging

from aiohttp.http_exceptions import BadHttpMessage

__all__ = ["protocol_logger"]

protocol_logger = logging.getLogger(__name__)


def _is_server_error(record: logging.LogRecord) -> bool:
    """Log a client's broken HTTP as one DEBUG line: anybody can send any amount of it."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, BadHttpMessage):
        return True
    problem = " ".join(error.message.split())
    protocol_logger.debug("%s: broken HTTP: %s", record.getMessage(), problem)
    return False


protocol_logger.addFilter(_is_server_error)
