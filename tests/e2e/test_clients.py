"""demos/clients: other people's programs, on a real server."""

import subprocess
import sys
from pathlib import Path

from server_process import ROOT, server_process

CLIENTS = ROOT / "demos" / "clients"


def test_langchain(chat_model: Path) -> None:
    arguments = ["--model_name", "tiny_chat", "--model_path", chat_model]
    with server_process(*arguments) as server:
        command = [sys.executable, str(CLIENTS / "langchain_chat.py"), "--url", server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert lines == [
        "invoke: The capital of France is Paris.",
        "stream: The capital of France is Paris.",
        "history: The capital of Spain is Madrid. 46 + 9 tokens",
        "batch: " + " ".join(f"{i} + {i} = {2 * i}." for i in range(1, 9)),
        "async: The capital of France is Paris.",
        lines[-1],
    ], done.stderr
    assert lines[-1].startswith("completion: ' Paris")
