"""demos/benchmark/replicas measures real servers."""

import os
import re
import subprocess
import sys

import pytest
from support.server_process import ROOT, server_process

FOLDER = ROOT / "demos/benchmark/replicas"
SCRIPT = FOLDER / "compare_replicas.py"


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_both_are_measured() -> None:
    flags = ["--rounds", "1", "--conversations", "3", "--turns", "2", "--max_tokens", "5"]
    command = [sys.executable, SCRIPT, "tiny_chat", *flags, "--words", "20"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = found.stdout.splitlines()[2:]
    for count, row in zip((1, 2), rows, strict=True):
        assert re.fullmatch(rf"\| {count} \| [\d.]+ \| \d+ \| \d+ % \| 3 of 3 \|", row), row


@pytest.mark.slow
def test_what_an_event_costs() -> None:
    with server_process("tiny_chat") as server:
        flags = ["--url", server.url, "--streams", "2", "--max_tokens", "20", "--rounds", "1"]
        command = [sys.executable, FOLDER / "relay_cost.py", *flags]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+ events, [\d.]+ us each\n", found.stdout), found.stdout
