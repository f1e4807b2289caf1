"""demos/benchmark/replicas/compare_replicas.py measures real servers."""

import os
import re
import subprocess
import sys

import pytest
from support.server_process import ROOT

SCRIPT = ROOT / "demos/benchmark/replicas/compare_replicas.py"


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_both_are_measured() -> None:
    flags = ["--rounds", "1", "--conversations", "3", "--turns", "2", "--max_tokens", "5"]
    command = [sys.executable, SCRIPT, "tiny_chat", *flags, "--words", "20"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = found.stdout.splitlines()[2:]
    for count, row in zip((1, 2), rows, strict=True):
        assert re.fullmatch(rf"\| {count} \| [\d.]+ \| \d+ \| \d+ % \| 3 of 3 \|", row), row
