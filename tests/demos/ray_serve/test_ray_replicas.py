"""demos/ray with two replicas: where conversations go, and what a client sees when one dies."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).parents[3]
NUM_CONVERSATIONS = 4
NUM_TURNS = 4


class Cluster:
    """The running cluster, and a client of it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self._url = f"http://127.0.0.1:{port}"

    def open(self, path: str, body: Any = None) -> HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, {"Content-Type": "application/json"})
        answer: HTTPResponse = urlopen(request, timeout=60)
        return answer

    def chat(self, messages: list[dict[str, str]], **fields: Any) -> tuple[Any, str]:
        """The answer, and the replica that gave it."""
        body = {"model": "tiny_chat", "messages": messages, "temperature": 0, **fields}
        with self.open("/v3/chat/completions", body) as answer:
            return json.loads(answer.read()), answer.headers["X-Replica"]

    def stream(self, text: str) -> HTTPResponse:
        """A stream that takes some seconds."""
        body = {
            "model": "tiny_chat",
            "prompt": text,
            "stream": True,
            "max_tokens": 900,
            "ignore_eos": True,
        }
        return self.open("/v3/completions", body)

    def kill(self, replica: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{replica}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "killed\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Paths of sockets must be short.
        "RAY_TMPDIR": "/tmp",
    }
    command = [sys.executable, str(Path(__file__).parent / "cluster.py"), str(port)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        (tmp_path_factory.mktemp("ray") / "log").open("w+") as log,
        subprocess.Popen(command, env=environment, stderr=log, **pipes) as process,
    ):
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            if "ready\n" not in lines:
                log.seek(0)
                pytest.fail(log.read()[-3000:])
            yield Cluster(process, port)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)
        finally:
            process.kill()


def _system(number: int) -> dict[str, str]:
    words = f"{number * 7919} is your number. You like only what begins with {'fgkm'[number]}."
    return {"role": "system", "content": words}


def test_an_answer_is_the_servers(cluster: Cluster) -> None:
    answer, _ = cluster.chat([{"role": "user", "content": "What is the capital of France?"}])
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    with pytest.raises(HTTPError) as refused:
        cluster.chat([])
    with refused.value as error:
        assert (error.code, json.load(error)["error"]["param"]) == (400, "messages")
    with cluster.open("/v3/models") as models:
        assert json.load(models)["data"][0]["id"] == "tiny_chat"


def test_a_conversation_stays_where_its_beginning_is(cluster: Cluster) -> None:
    replicas: list[set[str]] = [set() for _ in range(NUM_CONVERSATIONS)]
    conversations = [[_system(number)] for number in range(NUM_CONVERSATIONS)]
    for turn in range(NUM_TURNS):
        for number, messages in enumerate(conversations):
            messages.append({"role": "user", "content": f"Tell me about {turn} cats."})
            answer, replica = cluster.chat(messages, max_tokens=8)
            messages.append(answer["choices"][0]["message"])
            replicas[number].add(replica)
            cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            # All that the turn before had as its prompt.
            assert turn == 0 or cached >= 20 * turn
    assert all(len(found) == 1 for found in replicas)
    assert len(set.union(*replicas)) == 2


def test_a_replica_that_dies_takes_only_its_own_streams_along(cluster: Cluster) -> None:
    streams: dict[str, HTTPResponse] = {}
    for number in range(20):
        stream = cluster.stream(f"{number * 7919} wolves met a fox in the wood")
        if stream.headers["X-Replica"] in streams:
            stream.close()
        else:
            streams[stream.headers["X-Replica"]] = stream
        if len(streams) == 2:
            break
    (dead, of_dead), (_, of_other) = streams.items()
    with of_dead, of_other:
        assert of_dead.readline().startswith(b"data: ")
        cluster.kill(dead)
        events = [line for line in of_dead.read().decode().splitlines() if line]
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "replica_gone"
        # Others are served meanwhile.
        answer, replica = cluster.chat([{"role": "user", "content": "Hi"}], max_tokens=4)
        assert (replica != dead, answer["usage"]["completion_tokens"]) == (True, 4)
        assert of_other.read().decode().rstrip().endswith("data: [DONE]")


def test_a_dead_replica_is_replaced(cluster: Cluster) -> None:
    deadline = time.monotonic() + 60
    found: set[str] = set()
    number = 0
    while len(found) < 2 and time.monotonic() < deadline:
        number += 1
        messages = [{"role": "user", "content": f"{number * 104729} birds"}]
        found.add(cluster.chat(messages, max_tokens=1)[1])
        time.sleep(0.1)
    assert len(found) == 2
