"""Nodes of the user's that hang: their requests end, and everything else goes on."""

import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from faults.hung_nodes import ask_handler, ask_own, write_nodes
from faults.measure import is_ready
from support.infer_calls import tensor
from support.server_process import ServerProcess, server_process

FLAGS = ("--hung_node_seconds", 2, "--drain_timeout_s", 1)
MAX_ABANDONED = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    config = write_nodes(tmp_path_factory.mktemp("nodes"))
    with server_process("--config_path", config, *FLAGS) as running:
        yield running


def num_abandoned(server: ServerProcess) -> int:
    with urllib.request.urlopen(server.url + "/metrics") as response:
        lines = response.read().decode().splitlines()
    return int(
        next(float(line.split()[1]) for line in lines if line.startswith("server:abandoned"))
    )


def num_loads(server: ServerProcess, model: str) -> int:
    return sum(f"Model {model} is available" in line for line in server.log)


def test_a_handler_that_hangs_is_loaded_again(server: ServerProcess) -> None:
    status, answer = ask_handler(server, "hang")
    assert status == 504
    assert "node 'upper' hangs: it has worked on a request for" in answer["error"]
    assert "--hung_node_seconds 2 allows no more" in answer["error"]
    answer = ask_handler(server, "a", "other")
    assert answer[0] == 200, (answer, "".join(server.log[-12:]))
    deadline = time.monotonic() + 60
    while not (is_ready(server) and num_loads(server, "handler") == 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert ask_handler(server, "a")[0] == 200
    assert num_abandoned(server) == 1
    assert "in execute\n    time.sleep(10**9)" in "".join(server.log)


def test_a_handler_that_ends_other_requests_goes_on(server: ServerProcess) -> None:
    num_before, loads = num_abandoned(server), num_loads(server, "handler")
    with ThreadPoolExecutor() as threads:
        hanging = threads.submit(ask_handler, server, "hang")
        while not hanging.done():
            assert ask_handler(server, "a")[0] == 200
            assert is_ready(server)
            time.sleep(0.1)
    assert hanging.result()[0] == 504
    assert num_abandoned(server) == num_before + 1
    assert num_loads(server, "handler") == loads
    _, config = server.get("/v1/config")
    (version,) = config["handler"]["model_version_status"]
    assert version["state"] == "AVAILABLE"
    assert version["nodes"]["upper"] == {"running": 0, "waiting": 0, "given_up": 1}


def test_a_thread_is_given_up_whose_client_has_left(server: ServerProcess) -> None:
    num_before = num_abandoned(server)
    body = f'{{"inputs": [{tensor("text", ["hang"], [1], "BYTES")}]}}'.replace("'", '"')
    request = urllib.request.Request(server.url + "/v2/models/handler/infer", body.encode())
    with suppress(TimeoutError):
        urllib.request.urlopen(request, timeout=0.2)
    deadline = time.monotonic() + 60
    while num_abandoned(server) == num_before:
        assert ask_handler(server, "a")[0] in (200, 503)
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_threads_that_hang_take_none_from_others(server: ServerProcess) -> None:
    num_before = num_abandoned(server)
    with ThreadPoolExecutor(9) as threads:
        hanging = [threads.submit(ask_own, server, "thread") for _ in range(9)]
        while not all(each.done() for each in hanging):
            assert ask_own(server, "a") == (200, "done")
            assert ask_handler(server, "a", "other")[0] == 200
            time.sleep(0.1)
    for each in hanging:
        status, answer = each.result()
        assert (status, answer["error"]["code"]) == (504, "node_hung")
        assert "node 'mine' hangs" in answer["error"]["message"]
    deadline = time.monotonic() + 60
    while num_abandoned(server) < num_before + 9:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert server.post("/v1/config/reload", {})[0] == 200


def test_a_coroutine_that_waits_for_ever(server: ServerProcess) -> None:
    status, answer = ask_own(server, "await")
    assert (status, answer["error"]["code"]) == (504, "node_hung")
    assert "in OwnCalculator.process" in "".join(server.log), "the log says where it waits"


def test_too_many_threads_that_hang_end_the_process(tmp_path: Path) -> None:
    config = write_nodes(tmp_path)
    with server_process("--config_path", config, *FLAGS) as server:
        with ThreadPoolExecutor(MAX_ABANDONED + 1) as threads:
            for _ in range(MAX_ABANDONED + 1):
                threads.submit(ask_own, server, "thread")
        assert server.wait() == 70
        assert "Exit code 70: 17 threads hang, and 16 may: node 'mine'" in "".join(server.log)
