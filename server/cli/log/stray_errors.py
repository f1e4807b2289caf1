"""Sends to the log what Python prints by itself: warnings, and errors that nobody catches."""

import logging
import sys
import threading
from types import TracebackType

__all__ = ["StrayErrors"]

logger = logging.getLogger("server.python")


class StrayErrors:
    """In force from construction to `restore`; Ctrl-C still ends the process without a line."""

    def __init__(self) -> None:
        self._hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook = _log_exception
        threading.excepthook = _log_thread_exception
        sys.unraisablehook = _log_unraisable
        logging.captureWarnings(True)

    def restore(self) -> None:
        """Let Python print again."""
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._hooks
        logging.captureWarnings(False)


def _log_exception(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logger.critical("An exception ends the process", exc_info=(kind, error, traceback))


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_type is not SystemExit:
        name = arguments.thread.name if arguments.thread is not None else "unknown"
        logger.error("An exception ends thread %r", name, exc_info=arguments.exc_value)


def _log_unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    text = arguments.err_msg or "An exception was ignored in"
    logger.error("%s: %r", text, arguments.object, exc_info=arguments.exc_value)
