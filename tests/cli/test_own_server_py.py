"""The commands work in a folder that has a server.py of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.models.bundled import find_bundled_model


@pytest.mark.parametrize(
    "arguments",
    [
        ["--configure", "--model_path", "tiny_chat"],
        ["chat", "tiny_chat", "--temperature", "0", "-q", "What is the capital of France?"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_it_is_not_taken_for_the_package(arguments: list[str], tmp_path: Path) -> None:
    bundled = find_bundled_model("tiny_chat")
    assert bundled is not None
    shutil.copytree(bundled, tmp_path / "tiny_chat")
    (tmp_path / "server.py").write_text("raise SystemExit('mine')\n")
    command = [str(Path(sys.executable).with_name("server")), *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
