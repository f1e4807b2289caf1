"""The command `server` as a process of its own."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import echo_graph, parse_events, write_graph, write_repository

from server.api.http_server import open_sockets
from server.command_line import parse_arguments
from server.errors import ConfigError
from server.log import LogWriter
from server.main import _Exit

ROOT = Path(__file__).parents[1]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "server", *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def started(*arguments: str | Path, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """A server process, killed at the end if it still runs."""
    process = subprocess.Popen(
        command("--rest_port", "0", *arguments),
        cwd=ROOT,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ready_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def url_of(line: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found is not None, line
    return found[0]


def listening_url(process: subprocess.Popen[str]) -> str:
    """The address, from the log, before the models are loaded."""
    assert process.stderr is not None
    for line in process.stderr:
        if "Listening on" in line:
            return url_of(line)
    raise AssertionError("the server ended before it listened")


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@contextmanager
def chat(url: str, text: str, *, stream: bool = False) -> Iterator[Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream}
    request = urllib.request.Request(f"{url}/v3/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        yield response


def test_serves_until_a_signal(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph(), "bad": echo_graph(fail="no weights")})
    with started("--config_path", config) as process:
        line = ready_line(process)
        assert line.startswith("Serving on http://127.0.0.1:")
        assert "(1 of 2 models)" in line
        assert "--rest_bind_address 0.0.0.0 opens it to the network" in line
        with chat(url_of(line), "hello world") as response:
            answer = json.load(response)
        assert answer["choices"][0]["message"]["content"] == "hello world"
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0
    assert "Loading model m (1 of 2)" in log
    assert "no weights" in log
    assert "Traceback" not in log


def test_single_model_without_a_configuration(tmp_path: Path) -> None:
    write_graph(tmp_path / "x", echo_graph())
    with started("--model_name", "m", "--model_path", tmp_path / "x") as process:
        with chat(url_of(ready_line(process)), "hi") as response:
            assert response.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_health_before_the_models_are_loaded(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph(open_s=1.0)})
    with started("--config_path", config) as process:
        url = listening_url(process)
        assert get(f"{url}/v2/health/live") == 200
        assert get(f"{url}/v2/health/ready") == 503
        ready_line(process)
        assert get(f"{url}/v2/health/ready") == 200


def test_signal_while_a_model_loads(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph(open_s=60.0)})
    with started("--config_path", config) as process:
        listening_url(process)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_running_requests_may_end(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with started("--config_path", config, "--drain_timeout_s", "20") as process:
        url = url_of(ready_line(process))
        with chat(url, "one !pause two", stream=True) as response:
            response.readline()
            process.send_signal(signal.SIGTERM)
            rest = response.read().decode()
        assert rest.endswith("data: [DONE]\n\n")
        assert process.wait(30) == 0


def test_requests_that_do_not_end_are_cut(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with started("--config_path", config, "--drain_timeout_s", "0.2") as process:
        url = url_of(ready_line(process))
        with chat(url, "!endless", stream=True) as response:
            response.readline()
            process.send_signal(signal.SIGTERM)
            *_, last = parse_events(response.read().decode().lstrip("\n"))
        assert "shutting down" in last["error"]["message"]
        assert process.wait(30) == 0


def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with started("--config_path", config, "--drain_timeout_s", "600") as process:
        url = url_of(ready_line(process))
        with chat(url, "!endless", stream=True) as response:
            response.readline()
            process.send_signal(signal.SIGINT)
            while get(f"{url}/health") != 503:
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


OWN_CALCULATOR = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from server.graph import Calculator, Contract, Tag
from server.payloads import HttpRequestPayload, HttpResponsePayload

IN = Tag("IN", HttpRequestPayload)
OUT = Tag("OUT", HttpResponsePayload)
POOL = ThreadPoolExecutor()
POOL.submit(int)

class C(Calculator):
    contract = Contract(inputs=(IN,), outputs=(OUT,))
    async def process(self, cc):
        async for request in cc.input(IN):
            print("blocks", file=sys.stderr, flush=True)
            time.sleep(600)
"""
OWN_GRAPH = """
input_stream: "IN:a" output_stream: "OUT:b"
node { calculator: "./c.py:C" input_stream: "IN:a" output_stream: "OUT:b" }
"""


def write_own(folder: Path) -> Path:
    """A configuration with a raw graph of a calculator in a file, beside which a pool idles."""
    config = write_repository(folder, {"m": OWN_GRAPH})
    (folder / "m" / "c.py").write_text(OWN_CALCULATOR)
    return config


def test_the_second_signal_works_also_while_a_calculator_blocks_everything(tmp_path: Path) -> None:
    with started("--config_path", write_own(tmp_path)) as process:
        url = url_of(ready_line(process))
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(b"POST /v3/m HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
            assert process.stderr is not None
            assert any(line == "blocks\n" for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            assert any("SIGTERM: no new requests" in line for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_idle_threads_of_others_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with started("--config_path", write_own(tmp_path)) as process:
        ready_line(process)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert log.endswith("INFO server: Stopped\n")


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_pipe_that_nobody_reads_stops_nobody(name: str, tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    reader, writer = os.pipe()
    fill(writer)
    with started("--config_path", config, **{name: writer}) as process:
        url = url_of(ready_line(process)) if name == "stderr" else listening_url(process)
        while get(f"{url}/health") != 200:
            pass
        with pytest.raises(urllib.error.HTTPError) as caught, chat(url, "!bug"):
            pass
        with caught.value as error:
            assert error.code == 500
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    os.close(reader)
    os.close(writer)


def test_a_standard_output_that_takes_nothing(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with (
        Path("/dev/full").open("w") as full,
        started("--config_path", config, stdout=full) as process,
    ):
        assert process.stderr is not None
        assert any("standard output takes nothing: No space" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_survives_a_want_of_file_descriptors(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})

    def take_away_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    with started("--config_path", config, preexec_fn=take_away_files) as process:
        url = url_of(ready_line(process))
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(address))
            assert process.stderr is not None
            assert any("out of system resource" in line for line in process.stderr)
        assert get(f"{url}/health") == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert log.count("out of system resource") < 200


def test_an_end_without_a_thread_for_its_timer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    log = LogWriter("INFO")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    _Exit(log).after(1.0)
    log.close()
    assert "can't start new thread" in caplog.text


def test_port_in_use(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--config_path", config, "--rest_port", str(port))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in line


@pytest.mark.parametrize("address", ["a b", "1.2.3.4"])
def test_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(ConfigError, match=address):
        open_sockets(["127.0.0.1", address], 0)


def test_several_addresses_share_a_free_port(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {})
    with started("--config_path", config, "--rest_bind_address", "127.0.0.1, ::1") as process:
        line = ready_line(process)
        v4, v6 = re.findall(r":(\d+)\b", line.partition("(")[0].replace("::1", ""))
        assert v4 == v6


def test_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_config_list": [}')
    result = run("--config_path", tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "not JSON at line 1, column 24" in line


ODD_CALCULATOR = """
from dataclasses import dataclass
from server.graph import Calculator, Contract

@dataclass
class Options:
    def __post_init__(self):
        raise KeyError("odd")

class C(Calculator):
    contract = Contract(options=Options)
    async def process(self, cc):
        pass
"""


def test_check(tmp_path: Path) -> None:
    graphs = {"good": echo_graph(open_s=60.0)}
    result = run("--check", "--config_path", write_repository(tmp_path, graphs))
    assert (result.returncode, result.stdout) == (0, "good: ok\n1 model(s), 0 with problems\n")

    graphs["bad"] = echo_graph().replace("EchoCalculator", "EchoCalculater")
    graphs["worse"] = "node { calculator: 5 }"
    graphs["odd"] = 'node { calculator: "./odd.py:C" }'
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.py").write_text(ODD_CALCULATOR)
    result = run("--check", "--config_path", write_repository(tmp_path, graphs))
    assert result.returncode == 1
    assert "EchoCalculater" in result.stdout
    assert "worse: " in result.stdout
    assert "odd: " in result.stdout
    assert result.stdout.endswith("4 model(s), 3 with problems\n")
    assert "Traceback" not in result.stderr


def test_a_configuration_is_edited(tmp_path: Path) -> None:
    write_graph(tmp_path / "org/m", echo_graph())
    write_graph(tmp_path / "other", echo_graph())
    repository = ("--model_repository_path", tmp_path)
    assert run("--list_models", *repository).stdout == "org/m\nother\n"
    for name in ("org/m", "other"):
        assert run("--add_to_config", "--model_name", name, *repository).returncode == 0
    config = tmp_path / "config.json"
    entries = [{"config": {"name": name, "base_path": name}} for name in ("org/m", "other")]
    assert json.loads(config.read_text())["model_config_list"] == entries
    again = ("--add_to_config", "--model_name", "other", "--nireq=2", *repository)
    assert run(*again).returncode == 0
    (_, other) = json.loads(config.read_text())["model_config_list"]
    assert other == {"config": {"name": "other", "base_path": "other", "nireq": 2}}
    result = run("--remove_from_config", "--model_name", "other", "--config_path", config)
    assert result.returncode == 0
    assert json.loads(config.read_text())["model_config_list"] == entries[:1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--add_to_config", "--model_name", "lost"], "lost: no such folder; --model_path names"),
        (["--remove_from_config", "--model_name", "n"], "there is no model 'n'; it lists m"),
        (["--list_models", "--model_repository_path", "/nowhere"], "/nowhere: no such folder"),
        (["--add_to_config", "--model_name=m", "--config_path=/dev/null/c"], "/dev/null"),
    ],
)
def test_an_edit_that_cannot_be_made(arguments: list[str], problem: str, tmp_path: Path) -> None:
    write_repository(tmp_path, {"m": echo_graph()})
    result = run("--model_repository_path", tmp_path, *arguments)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert problem in line


def test_the_log_goes_to_a_file_too(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    log = tmp_path / "log"
    log.write_text("before\n")
    with started("--config_path", config, "--log_path", log, "--rest_workers", "4") as process:
        ready_line(process)
        log.rename(tmp_path / "log.1")
        process.send_signal(signal.SIGTERM)
        _, on_stderr = process.communicate(timeout=30)
    old, new = (tmp_path / "log.1").read_text(), log.read_text()
    assert old + new == "before\n" + on_stderr
    assert "WARNING server: --rest_workers has no effect" in old
    assert "Stopped" in new
    result = run("--config_path", config, "--log_path", tmp_path)
    assert (result.returncode, "--log_path" in result.stderr) == (1, True)


def test_flags_about_http(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    (tmp_path / "key").write_text("secret\n")
    flags = ["--api_key_file", tmp_path / "key", "--allowed_origins", "https://a"]
    with started("--config_path", config, *flags, "--max_request_bytes", "300") as process:
        url = url_of(ready_line(process))
        with pytest.raises(urllib.error.HTTPError) as caught, chat(url, "hi"):
            pass
        with caught.value as error:
            assert (error.code, error.headers["Vary"]) == (401, "Origin")
        headers = {"Authorization": "Bearer secret"}
        request = urllib.request.Request(f"{url}/v3/completions", b"x" * 301, headers)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        with caught.value as error:
            assert error.code == 413
    result = run("--config_path", config, "--api_key_file", tmp_path / "missing")
    assert (result.returncode, "No such file" in result.stderr) == (1, True)


def test_list_calculators() -> None:
    result = run("--list_calculators")
    assert result.returncode == 0, result.stderr


def test_version() -> None:
    result = run("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"server \S.*\n", result.stdout)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "nothing to serve"),
        (["--config_pth", "x"], "unknown argument --config_pth; did you mean '--config_path'"),
        (["--config_path=x", "--rest"], "unknown argument --rest"),
        (["--config_path", "x", "y"], "unknown argument y"),
        (["--config_path", "x", "--model_name", "m"], "cannot be used together"),
        (["--model_name", "m"], "only useful together"),
        (["--config_path", "x", "--rest_port", "65536"], "not a port"),
        (["--config_path", "x", "--rest_port", "-1"], "not a port"),
        (["--config_path", "x", "--rest_bind_address", "a,"], "empty address"),
        (["--config_path", "x", "--log_level", "LOUD"], "LOUD"),
        (["--config_path", "x", "--drain_timeout_s", "nan"], "not a time"),
        (["--config_path"], "expected one argument"),
    ],
)
def test_bad_usage(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse_arguments(arguments)
    assert exit_.value.code == 64
    assert problem in capsys.readouterr().err


def test_defaults(tmp_path: Path) -> None:
    arguments = parse_arguments(["--config_path", str(tmp_path)])
    assert arguments.rest_port == 8000
    assert arguments.rest_bind_address == ("127.0.0.1",)
    assert (arguments.log_level, arguments.drain_timeout_s) == ("INFO", 30.0)
