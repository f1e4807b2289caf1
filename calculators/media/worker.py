"""Runs one pipeline in a process of its own: `python -m calculators.media.worker <descriptor>`.

Messages are pairs of a kind and a value. The first one that arrives is ("load", function); the
answer to it is ("ready", facts). Then each ("run", request) is answered by any number of
("piece", text) and by one ("result", value). ("cancel", None) asks the request that runs to end
early. What fails is answered by ("error", exception). ("log", (logger, level, text)) may come at
any time.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from server.errors import GenerationError, ModelLoadError, ServingError
from server.host.child_processes import end_with_parent

__all__ = ["Load", "Serve"]

logger = logging.getLogger("calculators.media.worker")

Serve = Callable[[Any, Event, Callable[[str], None]], Any]
"""Serves a request; it is given the request, what cancels it, and the receiver of pieces."""
Load = Callable[[], tuple[Serve, Mapping[str, object]]]
"""Loads a pipeline; returns what serves requests, and facts for operators."""
Jobs = SimpleQueue[tuple[Any, Event]]


def main() -> None:
    """Serve one request after the other until the other end closes."""
    # The parent says when this process ends: it may finish a request after such a signal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    send = _Sender(connection)
    logging.getLogger().addHandler(_LogForwarder(send))
    jobs: Jobs = SimpleQueue()
    Thread(target=_receive, args=(connection, jobs), daemon=True).start()
    try:
        serve, facts = _load(jobs.get()[0])
    except ServingError as error:
        send("error", error)
        os._exit(1)
    send("ready", facts)
    while True:
        send(*_answer(serve, *jobs.get(), lambda text: send("piece", text)))


class _Sender:
    """Sends messages, of any thread."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._lock = Lock()

    def __call__(self, kind: str, value: object) -> None:
        with self._lock:
            try:
                self._connection.send((kind, value))
            except OSError:
                # The other end is gone.
                os._exit(0)


class _LogForwarder(logging.Handler):
    """Writes the log of this process into that of the parent, wherever it goes."""

    def __init__(self, send: _Sender) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line, and the traceback if there is one."""
        self._send("log", (record.name, record.levelno, self.format(record)))


def _receive(connection: "Connection[Any, Any]", jobs: Jobs) -> None:
    """Pass requests on, and end the process, whatever it does, when the other end is gone."""
    cancelled = Event()
    try:
        while True:
            kind, value = connection.recv()
            if kind == "cancel":
                cancelled.set()
            else:
                cancelled = Event()
                jobs.put((value, cancelled))
    except (EOFError, OSError):
        os._exit(0)
    except Exception:
        logger.exception("A message could not be read")
        os._exit(1)


def _load(load: Load) -> tuple[Serve, Mapping[str, object]]:
    try:
        return load()
    except ServingError:
        raise
    except Exception as error:
        logger.exception("The model could not be loaded")
        raise ModelLoadError(f"{type(error).__name__}: {error}") from error


def _answer(
    serve: Serve, request: Any, cancelled: Event, on_piece: Callable[[str], None]
) -> tuple[str, Any]:
    try:
        return "result", serve(request, cancelled, on_piece)
    except ServingError as error:
        return "error", error
    except Exception as error:
        logger.exception("A request failed")
        return "error", GenerationError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
