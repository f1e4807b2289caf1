"""The models that tests run, made once and kept in build/test_models; tests/ is importable."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).parents[1]
TEST_MODELS = ROOT / "build" / "test_models"

SOURCE_MODEL: Path | None = None
"""A Hugging Face folder to test with; None makes a small Llama with random weights."""

CONVERTERS = ("torch", "transformers", "optimum-intel", "openvino")

RANDOM_LLAMA = """
import sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
config = LlamaConfig(
    hidden_size=256, intermediate_size=640, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=64, vocab_size=1000, max_position_embeddings=1024,
    tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, initializer_range=0.15,
)
LlamaForCausalLM(config).eval().save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="session")
def hf_model() -> Path:
    """A causal language model as Hugging Face's transformers store it."""
    if SOURCE_MODEL is not None:
        return SOURCE_MODEL
    key = _hash(RANDOM_LLAMA, *map(version, CONVERTERS[:2]))
    return _make_once(f"hf-{key}", lambda to: _run("-c", RANDOM_LLAMA, str(to)))


@pytest.fixture(scope="session")
def model_f32(hf_model: Path) -> Path:
    """The f32 OpenVINO IR of `hf_model`."""
    files = [f"{path.name}:{_hash(path.read_bytes())}" for path in sorted(hf_model.iterdir())]
    key = _hash(*files, *map(version, CONVERTERS))
    command = ["export", "openvino", "--task", "text-generation-with-past"]
    return _make_once(
        f"f32-{key}",
        lambda to: _run(
            *["-m", "optimum.commands.optimum_cli", *command],
            *["--model", str(hf_model), "--weight-format", "fp32", str(to)],
        ),
    )


def _make_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of that name, which is made elsewhere first: it is there whole, or not at all."""
    folder = TEST_MODELS / name
    if not folder.is_dir():
        TEST_MODELS.mkdir(parents=True, exist_ok=True)
        staging = TEST_MODELS / f".{name}.{os.getpid()}"
        shutil.rmtree(staging, ignore_errors=True)
        make(staging)
        try:
            staging.rename(folder)
        except OSError:
            # Another test run was faster.
            shutil.rmtree(staging)
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
