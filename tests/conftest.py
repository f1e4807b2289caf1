"""The models that tests run, made once and kept in build/test_models."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from server.engine.model import tuned_model
from server.engine.model.tuning import Tuning

ROOT = Path(__file__).parents[1]
TEST_MODELS = ROOT / "build" / "test_models"

SOURCE_MODEL = ROOT / "demos" / "tiny_chat" / "model"
"""A Hugging Face folder with a causal language model, small but trained."""

CONVERTERS = ("torch", "transformers", "optimum-intel", "openvino")


def pytest_configure() -> None:
    """Let interrupts reach what the tests start; to a job in the background they do not come."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_auto_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers would depend on what was faster just then."""
    monkeypatch.setattr(tuned_model, "tune", lambda *_: Tuning({}, is_remembered=False))


@pytest.fixture(scope="session")
def hf_model() -> Path:
    """A causal language model as Hugging Face's transformers store it."""
    return SOURCE_MODEL


@pytest.fixture(scope="session")
def model_f32(hf_model: Path) -> Path:
    """The f32 OpenVINO IR of `hf_model`."""
    paths = sorted(path for path in hf_model.iterdir() if path.is_file())
    files = [f"{path.name}:{_hash(path.read_bytes())}" for path in paths]
    key = _hash(*files, *map(version, CONVERTERS))
    command = ["export", "openvino", "--task", "text-generation-with-past"]
    return _make_once(
        f"f32-{key}",
        lambda to: _run(
            *["-m", "optimum.commands.optimum_cli", *command],
            *["--model", str(hf_model), "--weight-format", "fp32", str(to)],
        ),
    )


@pytest.fixture(scope="session")
def bert_model() -> Path:
    """A small text classifier: its f32 IR and tokenizer in `openvino`, and `expected.npz`."""
    maker = Path(__file__).parent / "support" / "tiny_bert.py"
    key = _hash(maker.read_bytes(), *map(version, CONVERTERS))

    def make(to: Path) -> None:
        _run(str(maker), str(to))
        command = ["export", "openvino", "--task", "text-classification", "--weight-format", "fp32"]
        _run(
            *["-m", "optimum.commands.optimum_cli", *command],
            *["--model", str(to / "source"), str(to / "openvino")],
        )

    return _make_once(f"bert-{key}", make)


def _make_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of that name, which is made elsewhere first: it is there whole, or not at all."""
    folder = TEST_MODELS / name
    if not folder.is_dir():
        TEST_MODELS.mkdir(parents=True, exist_ok=True)
        staging = TEST_MODELS / f".{name}.{os.getpid()}"
        try:
            make(staging)
            # Another test run may have been faster; its folder is as good.
            with contextlib.suppress(OSError):
                staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def _run(*arguments: str) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()[:16]
