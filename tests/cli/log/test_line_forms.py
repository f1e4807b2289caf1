"""The forms of log lines, from a logger to the text on standard error."""

import json
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.cli.log.log_writer import LogWriter
from server.host.current_request import CURRENT_REQUEST, LoggedRequest

logger = logging.getLogger("server.test")


@contextmanager
def writing(log_format: str) -> Iterator[LogWriter]:
    """No other handler gets the records: pytest's own would fail on some of them."""
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    root.handlers.clear()
    log = LogWriter("INFO", log_format)
    try:
        yield log
    finally:
        log.close()
        root.handlers[:] = others
        root.setLevel(level)


@pytest.fixture
def in_request() -> Iterator[LoggedRequest]:
    request = LoggedRequest("r-1", "m")
    token = CURRENT_REQUEST.set(request)
    yield request
    CURRENT_REQUEST.reset(token)


def objects(text: str) -> list[dict[str, Any]]:
    """One object for every line; no character but the newline ends one."""
    assert text.isascii()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC)
    with writing("json"):
        logger.info("Model %s is %d s old", "m", 3)
    (line,) = objects(capsys.readouterr().err)
    time = line.pop("time")
    assert time.endswith("Z")
    assert abs((datetime.fromisoformat(time) - before).total_seconds()) < 10
    assert line == {"level": "INFO", "logger": "server.test", "message": "Model m is 3 s old"}


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "\x00\x1b[31m\x7f", "a\u2028b\x85c\x0bd", "日本 🦀", '"}\\', ""]
)
def test_no_text_breaks_a_line(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with writing("json"):
        logger.info("%s", text)
        logger.info("next", extra={"fields": {"path": text}})
    first, second = objects(capsys.readouterr().err)
    assert first["message"] == text
    assert second["path"] == text


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("capsys")
def test_half_a_character(tmp_path: Path, form: str) -> None:
    file = tmp_path / "log"
    with writing(form) as log:
        log.add_file(file)
        logger.info("a%sb", "\udc80")
    text = file.read_text(encoding="utf-8")
    assert (objects(text)[0]["message"] if form == "json" else text.split()[-1]) == "a\\udc80b"


def test_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    with writing("json"):
        try:
            raise ValueError("no\nweights")
        except ValueError:
            logger.exception("It failed")
    (line,) = objects(capsys.readouterr().err)
    assert line["message"] == "It failed"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: no\nweights")


def test_numbers_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"a": float("nan"), "b": float("inf"), "c": 1.5, "d": True}
    with writing("json"):
        logger.info("x", extra={"fields": fields})
    (line,) = objects(capsys.readouterr().err)
    assert [line[name] for name in "abcd"] == ["nan", "inf", 1.5, True]


@pytest.mark.parametrize("form", ["text", "json"])
def test_values_that_do_not_fit(capsys: pytest.CaptureFixture[str], form: str) -> None:
    with writing(form):
        logger.info("%d seats", "two")
        logger.info("next")
    first, second = capsys.readouterr().err.splitlines()
    assert "%d seats (the values of this line cannot be formatted: TypeError(" in first
    assert "next" in second


@pytest.mark.usefixtures("in_request")
def test_the_request_in_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    with writing("json"):
        logger.info("x")
    (line,) = objects(capsys.readouterr().err)
    assert (line["request_id"], line["model"]) == ("r-1", "m")
    assert "trace_id" not in line


def test_the_trace_in_an_object(
    capsys: pytest.CaptureFixture[str], in_request: LoggedRequest
) -> None:
    with writing("json"):
        logger.info("x")
        in_request.trace_id, in_request.span_id = "a" * 32, "b" * 16
        logger.info("y")
    first, second = objects(capsys.readouterr().err)
    assert "trace_id" not in first
    assert (second["trace_id"], second["span_id"]) == ("a" * 32, "b" * 16)


@pytest.mark.usefixtures("in_request")
def test_the_request_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    with writing("text"):
        logger.info("x")
        logger.info("access id=r-1", extra={"fields": {"status": 200}})
        try:
            raise ValueError("y")
        except ValueError:
            logger.exception("It failed")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("INFO server.test: x id=r-1")
    assert lines[1].endswith("access id=r-1")
    assert not lines[1].endswith("id=r-1 id=r-1")
    assert lines[2].endswith("It failed id=r-1")
    assert lines[3].startswith("Traceback")


def test_what_python_prints_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("in a thread")

    with writing("json"):
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            # The block has put pytest's own function into its place.
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn("old\nstyle", stacklevel=1)
            logging.captureWarnings(False)
    first, second = objects(capsys.readouterr().err)
    assert first["message"] == "An exception ends thread 'worker'"
    assert first["exception"].endswith("ValueError: in a thread")
    assert (second["logger"], second["level"]) == ("py.warnings", "WARNING")
    assert "old\nstyle" in second["message"]
