"""demos/clients: other people's programs, on a real server."""

import re
import subprocess
import sys
from pathlib import Path

from support.server_process import ROOT, server_process

CLIENTS = ROOT / "demos" / "clients"


def test_langchain(chat_model: Path) -> None:
    arguments = ["--model_name", "tiny_chat", "--model_path", chat_model]
    with server_process(*arguments) as server:
        command = [sys.executable, str(CLIENTS / "langchain_chat.py"), "--url", server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stderr
    assert lines[0] == "invoke: The capital of France is Paris."
    assert lines[1] == "stream: The capital of France is Paris."
    history = r"history: The capital of Spain is Madrid\. [1-9]\d+ \+ [1-9]\d* tokens"
    assert re.fullmatch(history, lines[2])
    assert lines[3] == "batch: " + " ".join(f"{i} + {i} = {2 * i}." for i in range(1, 9))
    assert lines[4] == "async: The capital of France is Paris."
    assert lines[5].startswith("completion: ' Paris")
