"""Small pipelines for a process of their own, which crash, hang and refuse as they are told."""

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from server.errors import InvalidRequestError, ModelLoadError

Loaded = tuple[Callable[..., Any], Mapping[str, object]]


def load() -> Loaded:
    """A pipeline that does what a request says."""
    return serve, {"size": 1}


def load_once(marker: Path) -> Loaded:
    """A pipeline that can be loaded only once; a further load ends the process."""
    if marker.exists():
        os._exit(3)
    marker.touch()
    return load()


def crash() -> Loaded:
    """Crashes at load."""
    ctypes.string_at(0)
    return load()


def refuse() -> Loaded:
    """Cannot be loaded."""
    raise ModelLoadError("model.bin: no such file")


def serve(request: str, cancelled: Event, on_piece: Callable[[str], None]) -> object:
    """The request in capitals, or what it names."""
    if request == "crash":
        ctypes.string_at(0)
    if request == "hang":
        time.sleep(600)
    if request == "wait":
        on_piece("waits")
        cancelled.wait(600)
    if request == "refuse":
        raise InvalidRequestError("too loud", "volume")
    if request == "bug":
        raise ZeroDivisionError("a bug")
    if request == "pieces":
        for number in range(5):
            on_piece(str(number))
    return request.upper()
