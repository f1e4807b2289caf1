"""The progress bar, on a terminal and elsewhere."""

import contextlib
import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from server.terminal.progress_bar import ProgressBar


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a bar writes on a terminal of 60 columns."""
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with os.fdopen(slave, "w") as stream:
        bar = ProgressBar(stream)
        assert bar.is_possible
        bar.show("loading a", 0.5)
        bar.show("loading a", 0.5)
        bar.hide()
        bar.draw()
        bar.show("x" * 200, 0.75)
        bar.show("x", 1.0)
        bar.draw()
    data = b""
    # The error says that the other end is closed and everything is read.
    with contextlib.suppress(OSError):
        while True:
            data += os.read(master, 10_000)
    os.close(master)
    return data.decode().split("\r\x1b[K")


def test_what_a_terminal_gets(written: list[str]) -> None:
    half = "[############............]  50 % loading a"
    assert written[:4] == ["", half, "", half]
    assert len(written[4]) == 59
    assert written[4].startswith("[##################......]  75 % xxx")
    assert written[5:] == [""]


def test_nothing_elsewhere() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)
    bar.show("loading", 0.5)
    bar.hide()
    bar.clear()
    assert (bar.is_possible, stream.getvalue()) == (False, "")
