"""A place for log lines that hangs: the other has all lines, and hears how many are lost."""

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.cli.log import outputs
from server.cli.log.log_writer import LogWriter

logger = logging.getLogger("server.test")

# More than a pipe and the queue before it hold.
NUM_LINES = 3000
MAX_WAITING = 500
TEXT = "x" * 100


@pytest.fixture
def _only_this_log() -> Iterator[None]:
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    root.handlers.clear()
    yield
    root.handlers[:] = others
    root.setLevel(level)


@contextlib.contextmanager
def logging_to(stderr: Path, file: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    with stderr.open("w") as stream:
        patch.setattr(sys, "stderr", stream)
        log = LogWriter("INFO")
        try:
            log.add_file(file)
            yield
        finally:
            log.close()
        assert not log.is_stuck


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["standard error", "file"])
@pytest.mark.usefixtures("_only_this_log")
def test_one_that_hangs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MAX_WAITING", MAX_WAITING)
    good, hanging = tmp_path / "good", tmp_path / "hanging"
    os.mkfifo(hanging)
    reader = os.open(hanging, os.O_RDONLY | os.O_NONBLOCK)
    places = (hanging, good) if name == "standard error" else (good, hanging)
    received = ""

    def told_again() -> "re.Match[str] | None":
        nonlocal received
        with contextlib.suppress(BlockingIOError):
            received += os.read(reader, 2**16).decode()
        return re.search(r"is written to .* again; (\d+) lines are lost", good.read_text())

    with logging_to(*places, monkeypatch):
        for i in range(NUM_LINES):
            logger.info("line %d %s", i, TEXT)
            if i % 100 == 99:
                until(lambda i=i: f"line {i} " in good.read_text())
        shown = name if name == "standard error" else str(hanging)
        told = f"The log cannot be written to {shown}: {MAX_WAITING} lines wait already"
        assert good.read_text().count(told) == 1
        until(told_again)
        found = told_again()
    os.close(reader)
    assert found is not None
    # The line that tells of it is lost there, too.
    assert int(found[1]) == NUM_LINES + 1 - received.count(TEXT)
    assert good.read_text().count(TEXT) == NUM_LINES
