"""Draft models for the test model: a trained one of half its size, and one of noise."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from engine.conftest import load_once
from support.made_models import export_f32, make_once

from server.engine.speculation import draft_loading

ROOT = Path(__file__).parents[3]
DRAFT = ROOT / "demos" / "tiny_chat" / "draft"


@pytest.fixture(autouse=True)
def share_compiled_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_loading, "load_model", load_once)


@pytest.fixture(scope="session")
def draft_f32(exporters: None) -> Path:
    """The draft of the test model as an f32 OpenVINO IR."""
    return make_once(
        "draft",
        [path for path in DRAFT.iterdir() if path.is_file()],
        lambda to: export_f32("text-generation-with-past", DRAFT, to),
    )


@pytest.fixture(scope="session")
def noise_f32(draft_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with other weights, whose drafts are nearly always wrong."""
    folder = tmp_path_factory.mktemp("noise") / "draft"
    shutil.copytree(draft_f32, folder)
    file = folder / "openvino_model.bin"
    weights = np.frombuffer(file.read_bytes(), np.uint8).copy()
    # Numbers in other places: constants of integers are small and lie apart.
    words = weights[: len(weights) // 4 * 4].view(np.float32)
    is_weight = (np.abs(words) > 1e-6) & (np.abs(words) < 0.5)
    words[is_weight] = np.random.default_rng(0).permutation(words[is_weight])
    file.write_bytes(weights.tobytes())
    return folder
