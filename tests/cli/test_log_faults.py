"""A log that cannot be written: one warning, the server goes on, and the log comes back."""

import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.server_command import command, get, ready_line, started, url_of

CANNOT = "The log cannot be written to"


@contextmanager
def serving(folder: Path, *flags: object) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server, and its address once it is ready."""
    config = write_repository(folder, {"m": echo_graph()})
    with started("--config_path", config, *map(str, flags)) as process:
        yield process, url_of(ready_line(process))


def stop(process: "subprocess.Popen[str]") -> str:
    process.terminate()
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in log
    return log


def read_to(process: "subprocess.Popen[str]", text: str) -> str:
    """The log up to the line with a text."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


def test_a_full_disk(tmp_path: Path) -> None:
    with serving(tmp_path, "--log_path", "/dev/full") as (process, url):
        for _ in range(20):
            assert get(f"{url}/v3/models") == 200
        log = stop(process)
    assert log.count(f"{CANNOT} /dev/full: [Errno 28] No space left on device") == 1
    assert log.count("server.access: GET /v3/models 200") == 20


def test_a_disk_that_has_room_again(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    with serving(tmp_path, "--log_path", file) as (process, url):
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
        for _ in range(5):
            assert get(f"{url}/v3/models/lost") == 404
        log = read_to(process, CANNOT)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        assert get(f"{url}/v3/models/found") == 404
        log += stop(process)
    assert log.count(CANNOT) == 1
    assert log.count(f"The log is written to {file} again; ") == 1
    assert "/v3/models/found 404" in file.read_text()


def test_a_folder_that_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with serving(tmp_path, "--log_path", folder / "server.log") as (process, url):
        shutil.rmtree(folder)
        assert get(f"{url}/v3/models/lost") == 404
        log = read_to(process, CANNOT)
        folder.mkdir()
        assert get(f"{url}/v3/models/found") == 404
        log += stop(process)
    assert log.count(CANNOT) == 1
    assert "/v3/models/found 404" in log
    assert "/v3/models/found 404" in (folder / "server.log").read_text()


def test_a_reader_of_standard_error_that_has_gone(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    with serving(tmp_path, "--log_path", file) as (process, url):
        assert process.stderr is not None
        process.stderr.close()
        process.stderr = None
        for _ in range(5):
            assert get(f"{url}/v3/models") == 200
        process.terminate()
        assert process.wait(30) == 0
    text = file.read_text()
    assert text.count(f"{CANNOT} standard error: [Errno 32] Broken pipe") == 1
    assert text.count("GET /v3/models 200") == 5


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams(tmp_path: Path, closed: str) -> None:
    file = tmp_path / "server.log"
    config = write_repository(tmp_path, {"m": echo_graph()})
    server = [*command("--rest_port", "0", "--config_path", config, "--log_path", file)]
    shell = ["bash", "-c", f'exec "$@" {closed}', "bash", *server]
    with subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_for_text(file, "Ready. To stop")
            # Else the log, or a socket, has the number of a standard stream.
            names = [str(Path(f"/proc/{process.pid}/fd/{n}").readlink()) for n in range(3)]
            assert names.count("/dev/null") >= len(closed.split())
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def wait_for_text(file: Path, text: str) -> None:
    end = time.monotonic() + 30
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < end, f"{file} never says {text!r}"
        time.sleep(0.05)
