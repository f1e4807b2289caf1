"""The bundled model is replaced, by file and by request, while clients keep asking."""

import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI
from support.e2e_names import SMALL_BLOCKS
from support.server_process import ServerProcess, server_process

POLL = ("--file_system_poll_wait_seconds", "0.2")


@pytest.fixture
def repository(chat_model: Path, tmp_path: Path) -> Path:
    """A repository of one model with a folder of its own, which tests may change."""
    shutil.copytree(chat_model, tmp_path / "chat")
    write_config(tmp_path, "chat")
    return tmp_path


def write_config(repository: Path, *names: str) -> None:
    new = repository / "config.json.new"
    entries = [{"config": {"name": name}} for name in names]
    new.write_text(json.dumps({"model_config_list": entries}))
    new.replace(repository / "config.json")


def set_blocks(repository: Path, num_blocks: int) -> None:
    graph = repository / "chat/graph.pbtxt"
    sizes = r"cache_size: 0( num_kv_blocks: \d+)?"
    text = re.sub(sizes, f"cache_size: 0 num_kv_blocks: {num_blocks}", graph.read_text())
    graph.write_text(text)


def replace_weights(repository: Path) -> None:
    weights = repository / "chat/openvino_model.bin"
    new = weights.with_suffix(".bin.tmp")
    shutil.copy(weights, new)
    with new.open("ab") as file:
        file.write(b"\0")
    new.replace(weights)


def write_in_place(repository: Path) -> None:
    """What `cp` does: the file is empty for a moment, and the same file afterwards."""
    for weights in (repository / "chat").glob("*.bin"):
        content = weights.read_bytes()
        with weights.open("wb") as file:
            time.sleep(0.3)
            file.write(content + b"\0")


def num_loads(server: ServerProcess) -> int:
    return "".join(server.log).count("Model chat is available after")


def state(server: ServerProcess, name: str) -> str:
    _, body = server.get("/v1/config")
    return str(body[name]["model_version_status"][0]["state"]) if name in body else ""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stream(client: OpenAI, model: str, max_tokens: int) -> str:
    events = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Tell me a story about a fox."}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    last = ""
    for event in events:
        last = event.choices[0].finish_reason or last
    return last


@contextmanager
def asked_without_end(server: ServerProcess, num_clients: int) -> Iterator[list[Future[int]]]:
    """Clients that stream one answer after another; the futures hold how many each has got."""
    is_over = threading.Event()

    def ask() -> int:
        num_answers = 0
        with server.openai() as client:
            while not is_over.is_set():
                assert stream(client, "chat", 40) == "length"
                num_answers += 1
        return num_answers

    with ThreadPoolExecutor(num_clients) as pool:
        futures = [pool.submit(ask) for _ in range(num_clients)]
        try:
            yield futures
        finally:
            is_over.set()


def test_reloads_under_load_lose_no_request(repository: Path) -> None:
    with (
        server_process("--config_path", repository, *POLL) as server,
        asked_without_end(server, 4) as clients,
    ):
        set_blocks(repository, SMALL_BLOCKS * 4)
        until(lambda: num_loads(server) == 2)
        replace_weights(repository)
        until(lambda: num_loads(server) == 3)
        set_blocks(repository, SMALL_BLOCKS * 5)
        until(lambda: num_loads(server) == 4)
        write_in_place(repository)
        until(lambda: num_loads(server) >= 5)
    assert all(client.result() > 0 for client in clients)
    # While the weights were written a load may have found half of them.
    assert "Traceback" not in "".join(server.log)


def test_the_configuration_is_watched(repository: Path) -> None:
    shutil.copytree(repository / "chat", repository / "other")
    with server_process("--config_path", repository, *POLL) as server, server.openai() as client:
        write_config(repository, "chat", "other")
        until(lambda: state(server, "other") == "AVAILABLE")
        assert [model.id for model in client.models.list()] == ["chat", "other"]
        assert stream(client, "other", 5) == "length"
        write_config(repository, "other")
        until(lambda: state(server, "chat") == "END")
        assert [model.id for model in client.models.list()] == ["other"]
        assert server.get("/v3/models/chat")[0] == 404


def test_without_watching_only_a_request_reloads(repository: Path) -> None:
    never = ("--file_system_poll_wait_seconds", "0")
    with server_process("--config_path", repository, *never) as server:
        set_blocks(repository, SMALL_BLOCKS)
        time.sleep(1.5)
        assert server.post("/v1/config/reload", {})[0] == 201
        assert server.post("/v1/config/reload", {})[0] == 200


def test_a_signal_during_a_reload(repository: Path) -> None:
    with server_process("--config_path", repository, *POLL) as server:
        set_blocks(repository, SMALL_BLOCKS)
        until(lambda: "Loading model chat (1 of 1)" in "".join(server.log[3:]))
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "Traceback" not in "".join(server.log)
