"""Architectures whose graphs the loader must complete: answers are transformers' in every way."""

from pathlib import Path

import pytest
from model_zoo import reference
from model_zoo.zoo import make_models, outcomes
from support.warm_python.launcher import WARM_PYTHON

PART = ["falcon_alibi", "gpt_neo", "llama4", "mpt_six_heads", "phi3_longrope", "phimoe_longrope"]


@pytest.fixture(scope="module")
def models(exporters: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    with WARM_PYTHON.as_executable():
        make_models(folder, PART)
    return folder


@pytest.mark.parametrize("name", PART)
def test_answers_are_those_of_transformers(models: Path, name: str) -> None:
    failure = models / name / reference.FAILURE
    assert not failure.exists(), failure.read_text()
    assert [column for column, outcome in outcomes(models / name) if not outcome.is_right] == []
