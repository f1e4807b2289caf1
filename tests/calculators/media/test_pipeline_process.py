"""A process that runs a pipeline: its answers, its crashes, its end."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread, Timer

import pytest
from support import child_pipelines

from calculators.media import pipeline_process
from calculators.media.pipeline_process import PipelineProcess
from calculators.media.worker import Load
from server.errors import (
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotReadyError,
)
from server.host.watch import WATCHDOG

TESTS = str(Path(child_pipelines.__file__).parents[1])


@contextmanager
def opened(load: Load) -> Iterator[PipelineProcess]:
    process = PipelineProcess(load, "test")
    try:
        yield process
    finally:
        process.close()


@pytest.fixture(autouse=True)
def tests_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has to find child_pipelines."""
    monkeypatch.setenv("PYTHONPATH", TESTS)


@pytest.fixture
def process() -> Iterator[PipelineProcess]:
    with opened(child_pipelines.load) as process:
        yield process


def run(process: PipelineProcess, request: str) -> object:
    return process.run(request, Event())


def pid_of(process: PipelineProcess) -> int:
    pid = process.status()["pid"]
    assert isinstance(pid, int)
    return pid


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_results_pieces_and_errors(process: PipelineProcess) -> None:
    pieces: list[str] = []
    assert process.run("pieces", Event(), pieces.append) == "PIECES"
    assert pieces == list("01234")
    with pytest.raises(InvalidRequestError, match="^too loud$") as refusal:
        run(process, "refuse")
    assert refusal.value.param == "volume"
    with pytest.raises(GenerationError, match="^ZeroDivisionError: a bug$"):
        run(process, "bug")
    assert run(process, "a") == "A"
    assert process.status() == {"size": 1, "pid": pid_of(process), "restarts": 0}
    assert process.health() is None


def test_the_log_is_that_of_the_server(
    process: PipelineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(GenerationError):
        run(process, "bug")
    [record] = caplog.records
    assert (record.name, record.levelname) == ("calculators.media.worker", "ERROR")
    assert "in serve" in record.message
    assert record.message.endswith("ZeroDivisionError: a bug")


def test_a_crash_fails_its_request_alone(process: PipelineProcess) -> None:
    for number in range(pipeline_process.MAX_UNUSED_STARTS + 1):
        first = pid_of(process)
        with pytest.raises(GenerationError, match="signal SIGSEGV; it is started again"):
            run(process, "crash")
        assert "ended: signal SIGSEGV; it is started again" in (process.health() or "")
        # It waits for the next process.
        assert run(process, "a") == "A"
        assert process.health() is None
        assert process.status()["restarts"] == number + 1
        assert pid_of(process) != first


def test_a_process_that_is_killed_while_nothing_runs(process: PipelineProcess) -> None:
    first = pid_of(process)
    os.kill(first, signal.SIGKILL)
    until(lambda: process.status()["restarts"] == 1 and process.health() is None)
    assert run(process, "a") == "A"


def test_crashes_at_start_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_process, "MAX_UNUSED_STARTS", 1)
    with opened(partial(child_pipelines.load_once, tmp_path / "marker")) as process:
        with pytest.raises(GenerationError, match="SIGSEGV"):
            run(process, "crash")
        reason = "exit code 3; it is not started again: it ended 1 times unused"
        with pytest.raises(ModelNotReadyError, match=reason):
            run(process, "a")
        assert reason in (process.health() or "")


def test_a_cancelled_request_ends_early_and_keeps_the_process(process: PipelineProcess) -> None:
    first, cancelled = pid_of(process), Event()
    assert process.run("wait", cancelled, lambda _: cancelled.set()) == "WAIT"
    assert run(process, "a") == "A"
    assert pid_of(process) == first


def test_a_request_that_cannot_be_cancelled_is_killed(
    process: PipelineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_process, "GRACE_S", 0.2)
    cancelled = Event()
    Timer(0.2, cancelled.set).start()
    with pytest.raises(GenerationError):
        process.run("hang", cancelled)
    # Nothing is wrong: others only wait for the next process.
    assert process.health() is None
    assert run(process, "a") == "A"


def test_a_receiver_that_fails(process: PipelineProcess) -> None:
    with pytest.raises(ZeroDivisionError):
        process.run("wait", Event(), lambda _: print(1 / 0))
    assert run(process, "a") == "A"


def test_models_that_cannot_be_loaded() -> None:
    with pytest.raises(ModelLoadError, match=r"^model.bin: no such file$"):
        PipelineProcess(child_pipelines.refuse, "test")
    with pytest.raises(ModelLoadError, match="the process that runs the model ended: signal SIGS"):
        PipelineProcess(child_pipelines.crash, "test")


def test_signals_that_stop_a_server_do_not_stop_the_process(process: PipelineProcess) -> None:
    first = pid_of(process)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(first, number)
    assert run(process, "a") == "A"
    assert pid_of(process) == first


def test_close_ends_the_process() -> None:
    with opened(child_pipelines.load) as process:
        pid = pid_of(process)
        assert not has_ended(pid)
    assert has_ended(pid)


def test_a_process_that_hangs_is_killed_and_replaced(process: PipelineProcess) -> None:
    assert run(process, "hello") is not None
    first = pid_of(process)
    os.kill(first, signal.SIGSTOP)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            run(process, "hello")
        except GenerationError as error:
            errors.append(error)

    asking = Thread(target=ask)
    asking.start()
    until(lambda: bool(process._watch.steps()))
    WATCHDOG.look(1)
    WATCHDOG.look(1000)
    asking.join(20)
    assert "signal SIGKILL; it is started again" in str(errors[0])
    assert run(process, "hello") is not None
    assert pid_of(process) != first
    assert process.health() is None
