"""The tiny random model that the benchmark makes."""

from pathlib import Path

import make_model
import pytest
import random_model
from support.made_models import make_once


@pytest.fixture(scope="session")
def tiny_model(exporters: None) -> Path:
    """The tiny random model, made and exported as run.py does it; int8_sym on any machine."""
    sources = [Path(module.__file__) for module in (make_model, random_model)]
    folder = make_once("tiny", sources, lambda to: random_model.prepare_ir("tiny", "int8_sym", to))
    return folder / "models" / "tiny-int8_sym"
