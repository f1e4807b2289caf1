import json
from pathlib import Path

import pytest

from calculators.rerank.model_config import ModelConfig, read_model_config
from server.errors import ModelLoadError


def test_labels_have_the_names_of_the_file() -> None:
    assert ModelConfig({"id2label": {"0": "bad", "1": "good"}}).labels(3) == (
        "bad",
        "good",
        "LABEL_2",
    )
    assert ModelConfig({"id2label": {"0": "x"}}).num_labels == 1
    assert ModelConfig({"num_labels": 2}).num_labels == 2
    assert ModelConfig({}).num_labels is None


@pytest.mark.parametrize(
    ("problem", "num_labels", "expected"),
    [
        ("regression", 1, "none"),
        ("multi_label_classification", 3, "sigmoid"),
        ("single_label_classification", 3, "softmax"),
        (None, 1, "sigmoid"),
        (None, 2, "softmax"),
    ],
)
def test_activations_of_classifiers(problem: str, num_labels: int, expected: str) -> None:
    assert ModelConfig({"problem_type": problem}).class_activation(num_labels) == expected


def test_activations_of_rerankers() -> None:
    identity = "torch.nn.modules.linear.Identity"
    assert ModelConfig({}).score_activation == "sigmoid"
    older = ModelConfig({"sbert_ce_default_activation_function": identity})
    newer = ModelConfig({"sentence_transformers": {"activation_fn": identity}})
    assert older.score_activation == newer.score_activation == "none"
    sigmoid = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    assert ModelConfig({"sentence_transformers": sigmoid}).score_activation == "sigmoid"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert read_model_config(tmp_path).members == {}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"num_labels": 3}))
    assert read_model_config(tmp_path).num_labels == 3
    for content in ("{", "[]"):
        path.write_text(content)
        with pytest.raises(ModelLoadError, match=r"config\.json: "):
            read_model_config(tmp_path)
