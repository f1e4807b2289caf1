import shutil
from pathlib import Path

import pytest

from server.engine.model.tuning.saved_choices import SAVED_FILE
from server.engine.model.tuning.saved_sizes import SIZES_FILE


@pytest.fixture
def folder(model_f32: Path, tmp_path: Path) -> Path:
    """The model in a folder of its own, without anything that was measured."""
    measured = shutil.ignore_patterns(SAVED_FILE, SIZES_FILE)
    return Path(shutil.copytree(model_f32, tmp_path / "model", ignore=measured))
