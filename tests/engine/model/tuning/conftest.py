import shutil
from pathlib import Path

import pytest

from server.engine.model.tuning.saved_choices import SAVED_FILE


@pytest.fixture
def folder(model_f32: Path, tmp_path: Path) -> Path:
    """The model in a folder of its own, without saved choices."""
    shutil.copytree(model_f32, tmp_path / "model")
    (tmp_path / "model" / SAVED_FILE).unlink(missing_ok=True)
    return tmp_path / "model"
