"""The command `server` as a process of its own."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


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
