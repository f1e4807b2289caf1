"""The tiny random model that the benchmark makes."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random model, made and exported as run.py does it."""
    pytest.importorskip("torch")
    pytest.importorskip("optimum.exporters.openvino")
    from random_model import prepare_ir

    return prepare_ir("tiny", "int8", tmp_path_factory.mktemp("tiny"))
