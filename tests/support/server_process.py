"""A server in a process of its own, as users run it."""

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, OpenAI

ROOT = Path(__file__).parents[2]
READY = "Serving on "


class ServerProcess:
    """A running `server`; `log` is what it has written to stderr so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        self.clients = ExitStack()
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(READY), "".join(self.log)
        self.url, *others = (word for word in line.split() if "://" in word)
        # Where there is --port.
        self.grpc_address = "".join(others[:1]).removeprefix("grpc://")

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)

    def openai(self, prefix: str = "/v3") -> OpenAI:
        """OpenAI's client, without its own retries; its sockets are closed with the process."""
        client = OpenAI(base_url=self.url + prefix, api_key="unused", max_retries=0)
        return self.clients.enter_context(client)

    def async_openai(self) -> AsyncOpenAI:
        """The same for asyncio."""
        return AsyncOpenAI(base_url=self.url + "/v3", api_key="unused", max_retries=0)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET."""
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON of a POST; a body of bytes goes out as it is."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self.url + path, data, headers))

    def post_text(self, path: str, body: Any) -> str:
        """The answer to a POST that works, as text."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as response:
            text: str = response.read().decode()
            return text

    def stop(self) -> int:
        """Send SIGTERM and wait; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(timeout=60)
        self._reader.join()
        return code

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())


def _json(body: bytes) -> Any:
    return json.loads(body) if body else None


@contextmanager
def server_process(
    *arguments: object, program: Sequence[object] = ("-m", "server"), **popen: Any
) -> Iterator[ServerProcess]:
    """Start `server` on a free port; it is stopped at the end, and its pipes are read to theirs.

    Unless the arguments say otherwise it does not tune itself: answers would depend on what was
    faster just then.
    """
    flags = ["--rest_port", "0", "--no_auto_tune", "true"]
    command = [sys.executable, *map(str, program), *flags, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **{"cwd": ROOT, **pipes, **popen}) as process:
        try:
            server = ServerProcess(process)
            with server.clients:
                yield server
            if process.poll() is None:
                server.stop()
        finally:
            process.kill()
