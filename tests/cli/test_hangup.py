"""SIGHUP reloads; a closed terminal stops; SIGUSR1 and SIGUSR2 do nothing."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_graph, write_repository
from support.server_command import chat, get, ready_line, started, url_of
from support.terminal import terminal


def add_model(config: Path, name: str) -> None:
    write_graph(config.parent / name, echo_graph())
    document = json.loads(config.read_text())
    document["model_config_list"].append({"config": {"name": name, "base_path": name}})
    config.write_text(json.dumps(document))


def wait_for(url: str, status: int) -> None:
    end = time.monotonic() + 30
    while get(url) != status:
        assert time.monotonic() < end, f"{url} never answers {status}"
        time.sleep(0.05)


def test_hangup_reloads(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    never = ("--file_system_poll_wait_seconds", "0")
    with started("--config_path", config, *never) as process:
        url = url_of(ready_line(process))
        add_model(config, "late")
        process.send_signal(signal.SIGHUP)
        wait_for(f"{url}/v3/models/late", 200)
        config.write_text("{")
        process.send_signal(signal.SIGHUP)
        assert get(f"{url}/v3/models/late") == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "SIGHUP: reloading what changed" in log
    assert "Traceback" not in log


def test_user_signals_are_ignored(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with started("--config_path", config) as process:
        url = url_of(ready_line(process))
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(number)
        assert get(f"{url}/v3/models/m") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_hangups_without_end_under_load(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with started("--config_path", config) as process:
        url = url_of(ready_line(process))
        with chat(url, "!endless", stream=True) as answer:
            for _ in range(100):
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGUSR1)
                answer.readline()
                assert get(f"{url}/v3/models/m") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_hangup_while_the_server_drains(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with started("--config_path", config, "--drain_timeout_s", "2") as process:
        url = url_of(ready_line(process))
        with chat(url, "!endless", stream=True) as answer:
            answer.readline()
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            # Of signals that wait together, the one with the lowest number is seen first.
            while "no new requests" not in process.stderr.readline():
                pass
            for _ in range(10):
                for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                    process.send_signal(number)
                # The answer goes on until the drain is over.
                assert answer.readline()
                time.sleep(0.05)
        assert process.wait(30) == 0
        log = process.stderr.read()
    assert "reloading" not in log
    assert "Traceback" not in log


def test_with_nohup_the_server_outlives_its_terminal(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    config = write_repository(tmp_path, {"m": echo_graph()})
    with terminal("--config_path", config, "--rest_port", "0") as window:
        window.wait_for("Ready. To stop")
        url = url_of(window.shown)
        window.hide()
        add_model(config, "late")
        wait_for(f"{url}/v3/models/late", 200)
        os.kill(window.pid, signal.SIGTERM)
        assert window.wait_for_end() == 0


def test_a_closed_terminal_stops_the_server(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    with terminal("--config_path", config, "--rest_port", "0") as window:
        window.wait_for("Ready. To stop")
        assert window.close_window() == 0
