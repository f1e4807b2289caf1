"""demos/benchmark/lora: what it prints of a small model."""

import re
import subprocess
import sys
from pathlib import Path

from server.models.bundled import find_bundled_model

SCRIPT = Path(__file__).parents[2] / "demos" / "benchmark" / "lora" / "lora_cost.py"


def test_the_cost_of_branches_and_of_adapters() -> None:
    model = find_bundled_model("tiny_chat")
    assert model is not None
    arguments = ["--adapters", "2", "--rank", "3", "--rounds", "1", "--streams", "3"]
    command = [sys.executable, SCRIPT, model, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = r"[\d.]+ of the wall time, [\d.]+ of the processor time"
    assert re.search(rf"^branches, plain requests: {figures}$", done.stdout, re.MULTILINE)
    assert re.search(rf"^2 adapters: {figures}$", done.stdout, re.MULTILINE)
