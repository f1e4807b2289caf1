"""A server with two replicas, each of them a real process on a core of its own."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from support.server_process import ServerProcess, server_process

from server.api.replicas.joined import METRICS_AGE_S

MODULE = "server.cli.replicas.replica"


class Replicated(ServerProcess):
    """The front, and what tests ask of its replicas."""

    def children(self) -> dict[int, int]:
        """The processes of the replicas, by their numbers."""
        found = {}
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if MODULE in Path(f"/proc/{child}/cmdline").read_text():
                cpu = min(os.sched_getaffinity(int(child)))
                found[sorted(os.sched_getaffinity(0)).index(cpu)] = int(child)
        return found

    def ask(self, *messages: str, model: str = "echo", **fields: Any) -> tuple[int, str]:
        """Send a chat whose messages are the user's and the model's in turn.

        Returns the number of the replica and the answer.
        """
        roles = ["user", "assistant"] * len(messages)
        chat = [{"role": r, "content": m} for r, m in zip(roles, messages, strict=False)]
        body = {"model": model, "messages": chat, **fields}
        answer = httpx.post(f"{self.url}/v3/chat/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        text = answer.json()["choices"][0]["message"]["content"]
        return int(answer.headers["X-Replica"]), text

    @contextmanager
    def stream(self, text: str, path: str = "/v3/chat/completions") -> Iterator[httpx.Response]:
        """A streamed answer, whose status line has come."""
        chat = [{"role": "user", "content": text}]
        body = {"model": "echo", "messages": chat, "stream": True, "max_tokens": 100}
        with httpx.stream("POST", self.url + path, json=body, timeout=60) as response:
            yield response

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, what + "\n" + "".join(self.log)
            time.sleep(0.05)

    def logged(self, *parts: str) -> int:
        """How many lines of the log have all these parts."""
        return sum(all(part in line for part in parts) for line in list(self.log))

    def metric(self, name: str) -> float:
        """The value of the first series whose line begins so; 0 if there is none."""
        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        found = [line for line in text.splitlines() if line.startswith(name)]
        return float(found[0].split()[-1]) if found else 0.0

    def until_all_serve(self) -> None:
        """Wait until the front knows that both replicas have every model."""
        # What the front has collected may be older than what a test has done a moment ago.
        time.sleep(METRICS_AGE_S)
        series = [f'front:replica_ready{{engine="front",replica="{n}"}}' for n in range(2)]
        self.until(lambda: all(map(self.metric, series)), "a replica is not back")


@contextmanager
def replicated(*arguments: object, **popen: Any) -> Iterator[Replicated]:
    """Start a server of two replicas, as `server_process` does."""
    with server_process("--replicas", "2", *arguments, **popen) as server:
        server.__class__ = Replicated
        assert isinstance(server, Replicated)
        yield server
