"""Embeddings from Python, with the small BERT that sentence-transformers has computed."""

from pathlib import Path

import numpy as np
import pytest
from support.tiny_encoders import TEXTS, load_expected

from server import EmbeddingModel
from server.errors import (
    ContextLengthError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotReadyError,
)


def test_vectors_of_texts_and_of_token_ids(tiny_encoders: Path) -> None:
    expected = load_expected(tiny_encoders / "bert")
    folder = tiny_encoders / "bert" / "openvino"
    precision = {"INFERENCE_PRECISION_HINT": "f32"}
    with EmbeddingModel(folder, target_device="CPU", plugin_config=precision) as model:
        np.testing.assert_allclose(model.embed(TEXTS[1:3]), expected["vectors"][1:3], atol=1e-4)
        single = model.embed(TEXTS[1])
        assert single.shape == (32,)
        assert model.embed([2, 5, 3]).shape == (32,)
        assert model.embed([[2, 5, 3], [2, 3]]).shape == (2, 32)
        assert model.embed([]).shape == (0, 0)
        short = model.embed(TEXTS[1], dimensions=4)
        np.testing.assert_allclose(short, single[:4] / np.linalg.norm(single[:4]), atol=1e-5)
        queries = model.embed(TEXTS[1:2], prompt_name="query")
        np.testing.assert_allclose(queries, expected["queries"][1:2], atol=1e-4)
        with pytest.raises(ContextLengthError, match="longer than allowed 64"):
            model.embed("the " * 100)
        assert model.embed("the " * 100, truncate=True).shape == (32,)
        with pytest.raises(InvalidRequestError, match="prompt 1 is a float"):
            model.embed(["a", 1.5])  # type: ignore[list-item]
    with pytest.raises(ModelNotReadyError, match="closed"):
        model.embed("a")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no such folder"):
        EmbeddingModel(tmp_path / "nothing")
    with pytest.raises(ModelLoadError, match="no such file"):
        EmbeddingModel(tmp_path)
