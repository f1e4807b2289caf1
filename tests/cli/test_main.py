"""The command `server` as a process of its own."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.fakes import echo_graph, parse_events, write_graph, write_repository
from support.server_command import chat, get, listening_url, ready_line, started, url_of

from server.cli.log.log_writer import LogWriter
from server.cli.serving import _Exit


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
            client.sendall(b"POST /v3/m HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
            assert process.stderr is not None
            # A line of the log may come between the word and the end of its line.
            assert any("blocks" in line for line in process.stderr)
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
    config, file = write_repository(tmp_path, {"m": echo_graph()}), tmp_path / "server.log"
    reader, writer = os.pipe()
    fill(writer)
    with started("--config_path", config, "--log_path", file, **{name: writer}) as process:
        url = url_of(ready_line(process)) if name == "stderr" else listening_url(process)
        while get(f"{url}/health") != 200:
            pass
        with pytest.raises(urllib.error.HTTPError) as caught, chat(url, "!bug"):
            pass
        with caught.value as error:
            assert error.code == 500
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "POST /v3/chat/completions 500" in file.read_text()
    os.close(reader)
    os.close(writer)


def test_a_standard_output_that_takes_nothing(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with (
        Path("/dev/full").open("w") as full,
        started("--config_path", config, stdout=full) as process,
    ):
        assert process.stderr is not None
        assert any("cannot write to standard output: No space" in line for line in process.stderr)
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
            assert any("Refused a connection" in line for line in process.stderr)
        # The server may need a moment to see that they were closed.
        assert 200 in (get(f"{url}/health") for _ in range(100))
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert log.count("a connection") < 3
    assert "Traceback" not in log


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
