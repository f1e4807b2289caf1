"""The log of aiohttp's protocol, without tracebacks for what clients send."""

import logging

from aiohttp.http_exceptions import BadHttpMessage

__all__ = ["protocol_logger"]

protocol_logger = logging.getLogger(__name__)


def _is_our_problem(record: logging.LogRecord) -> bool:
    """Tell a client's broken HTTP, which anybody can send without end, in a DEBUG line."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, BadHttpMessage):
        return True
    problem = " ".join(error.message.split())
    protocol_logger.debug("%s: no HTTP: %s", record.getMessage(), problem)
    return False


protocol_logger.addFilter(_is_our_problem)
