"""demos/benchmark/kv_precision.py prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_agreements(model_f32: Path) -> None:
    script = ROOT / "demos" / "benchmark" / "kv_precision.py"
    command = [sys.executable, str(script), "--model", str(model_f32)]
    table = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    rows = dict(re.findall(r"^\| (\w+ \| \w+) \| ([\d.]+)% \|$", table, re.MULTILINE))
    assert rows["f32 | f32"] == "100.0"
    assert 50 < float(rows["u8 | f32"]) <= 100
    assert len(rows) == 5
