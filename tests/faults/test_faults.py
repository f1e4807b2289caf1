"""A real server with injected faults: what clients, probes and operators see."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.measure import CHAT, FLAGS, ROOT, ask, is_ready, write_models
from support.server_process import ServerProcess, server_process

PROGRAM = ROOT / "tests" / "faults" / "faulty_server.py"


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    folder = tmp_path / "faults"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, faults: Path) -> Iterator[ServerProcess]:
    config = write_models(tmp_path)
    with server_process("--config_path", config, *FLAGS, program=(PROGRAM, faults)) as running:
        yield running


def until_served(server: ServerProcess, name: str) -> None:
    """Ask until there is an answer, for a limited time."""
    deadline = time.monotonic() + 60
    while not (ask(server, name) == "200" and is_ready(server)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_step_that_hangs(server: ServerProcess, faults: Path) -> None:
    assert ask(server, "chat") == "200"
    (faults / "step_hangs").touch()
    streamed: list[str] = []
    body = {**CHAT, "stream": True}
    reading = threading.Thread(
        target=lambda: streamed.append(str(server.post("/v3/chat/completions", body)))
    )
    reading.start()
    while (faults / "step_hangs").exists():
        time.sleep(0.01)
    assert ask(server, "chat").startswith("503 the model is not ready: a step hangs")
    reading.join(30)
    assert "a step hangs" in streamed[0]
    until_served(server, "chat")
    text = "".join(server.log)
    assert "in hang" in text, "the stacks of all threads are in the log"
    lines = [line for line in server.log if line.endswith("All threads:\n")]
    assert len(lines) == 1, lines
    with urllib.request.urlopen(server.url + "/metrics") as response:
        metrics = response.read().decode()
    assert "server:hung_steps_total{" in metrics
    assert "server:engine_replacements_total{" in metrics


def test_an_engine_that_waits_to_be_loaded_again(server: ServerProcess, faults: Path) -> None:
    (faults / "request_exits").touch()
    assert ask(server, "chat") == "500 the engine failed: SystemExit: an injected fault"
    status, answer = server.get("/health")
    assert (status, answer["error"]) == (503, "1 of 4 models cannot serve")
    assert "SystemExit" in answer["models"]["tiny_chat"]
    _, config = server.get("/v1/config")
    (version,) = config["tiny_chat"]["model_version_status"]
    assert version["state"] != "AVAILABLE"
    assert ask(server, "embed") == "200", "other models serve meanwhile"
    until_served(server, "chat")
    assert json.dumps(server.get("/v1/config")[1]).count("AVAILABLE") == 4
