"""Runs one pipeline in a process of its own: `python -m calculators.media.worker <descriptor>`.

Messages are pairs of a kind and a value. The first one that arrives is ("load", function); the
answer to it is ("ready", facts). Then each ("run", request) is answered by any number of
("piece", text) and by one ("result", value). ("cancel", None) asks the request that runs to end
early. What fails is answered by ("error", exception).
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from server.errors import GenerationError, ModelLoadError, ServingError
from server.host.child_processes import end_with_parent

__all__ = ["Load", "Serve"]

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
    jobs: Jobs = SimpleQueue()
    Thread(target=_receive, args=(connection, jobs), daemon=True).start()
    try:
        serve, facts = _load(jobs.get()[0])
    except ServingError as error:
        connection.send(("error", error))
        os._exit(1)
    connection.send(("ready", facts))
    while True:
        connection.send(_answer(serve, *jobs.get(), lambda text: connection.send(("piece", text))))


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
        traceback.print_exc()
        os._exit(1)


def _load(load: Load) -> tuple[Serve, Mapping[str, object]]:
    try:
        return load()
    except ServingError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise ModelLoadError(f"{type(error).__name__}: {error}") from error


def _answer(
    serve: Serve, request: Any, cancelled: Event, on_piece: Callable[[str], None]
) -> tuple[str, Any]:
    try:
        return "result", serve(request, cancelled, on_piece)
    except ServingError as error:
        return "error", error
    except Exception as error:
        traceback.print_exc()
        return "error", GenerationError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
