"""Models that tests run, made once and kept in build/test_models."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from support.warm_python.launcher import WARM_PYTHON

TEST_MODELS = Path(__file__).parents[2] / "build" / "test_models"
CONVERTERS = ("torch", "transformers", "optimum-intel", "nncf", "openvino")


def make_once(name: str, sources: list[Path], make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills; made again when a source or a converter has changed.

    It is filled under another name first: it is there whole, or not at all.
    """
    contents = [content for path in sorted(sources) for content in (path.name, path.read_bytes())]
    folder = TEST_MODELS / f"{name}-{_hash(*contents, *map(version, CONVERTERS))}"
    TEST_MODELS.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        # Another test process may be at it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            staging = folder.with_suffix(".part")
            shutil.rmtree(staging, ignore_errors=True)
            with WARM_PYTHON.as_executable():
                make(staging)
            staging.rename(folder)
    return folder


def run_python(*arguments: object) -> None:
    """Run a Python program that must succeed, without the Hugging Face Hub."""
    result = subprocess.run(
        [WARM_PYTHON.executable, *map(str, arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def export_f32(task: str, source: Path, to: Path) -> None:
    """Convert a Hugging Face folder to an IR with optimum's own command."""
    command = ["optimum.commands.optimum_cli", "export", "openvino", "--task", task]
    run_python("-m", *command, "--model", source, "--weight-format", "fp32", to)


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()[:16]
