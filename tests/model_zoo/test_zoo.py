"""Architectures whose attention OpenVINO's transformation changes: answers are transformers'."""

from pathlib import Path

import pytest
from model_zoo.zoo import MODES, make_model, num_equal_tokens

PART = ["falcon_alibi", "gpt_neo", "llama4", "mpt_six_heads", "phi3_longrope"]


@pytest.fixture(scope="module", params=PART)
def zoo_model(
    exporters: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return make_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_those_of_transformers(zoo_model: Path, mode: str) -> None:
    num_equal, num_tokens = num_equal_tokens(zoo_model, mode)
    assert num_equal == num_tokens == 200
