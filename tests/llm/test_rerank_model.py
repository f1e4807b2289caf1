"""Rerankers and classifiers from Python, on real models."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine_helpers import F32
from support.tiny_rankers import DOCUMENTS, QUERY, TEXTS

from server import RerankModel
from server.errors import InvalidRequestError, ModelLoadError, ModelNotReadyError


@pytest.fixture(scope="module")
def model(rankers: Path) -> Iterator[RerankModel]:
    folder = rankers / "mpnet" / "openvino"
    with RerankModel(folder, plugin_config=F32, target_device="CPU") as model:
        yield model


@pytest.fixture(scope="module")
def expected(rankers: Path) -> list[float]:
    scores: list[float] = json.loads((rankers / "mpnet" / "expected.json").read_text())["scores"]
    return scores


def test_documents_are_ranked(model: RerankModel, expected: list[float]) -> None:
    ranked = model.rerank(QUERY, DOCUMENTS, top_n=3)
    wanted = sorted(range(len(DOCUMENTS)), key=lambda i: -expected[i])[:3]
    assert [found.index for found in ranked] == wanted
    assert [found.document for found in ranked] == [DOCUMENTS[i] for i in wanted]
    assert [found.score for found in ranked] == pytest.approx(
        [expected[i] for i in wanted], abs=1e-4
    )
    assert len(model.rerank(QUERY, DOCUMENTS)) == len(DOCUMENTS)
    assert model.rerank(QUERY, []) == []


def test_pairs_are_scored_in_their_order(model: RerankModel, expected: list[float]) -> None:
    scores = model.score([(QUERY, document) for document in DOCUMENTS])
    assert scores == pytest.approx(expected, abs=1e-4)
    assert model.score([]) == []


def test_texts_are_classified(rankers: Path) -> None:
    folder = rankers / "single_label"
    answers = json.loads((folder / "expected.json").read_text())["answers"]
    with RerankModel(folder / "openvino", plugin_config=F32, target_device="CPU") as model:
        found = model.classify(TEXTS)
        assert model.classify([]) == []
    for classification, labels in zip(found, answers, strict=True):
        wanted = {label["label"]: label["score"] for label in labels}
        assert classification.scores == pytest.approx(wanted, abs=1e-4)
        assert classification.label == max(wanted, key=wanted.__getitem__)
    with pytest.raises(ModelNotReadyError, match="closed"):
        model.classify(TEXTS)


def test_what_is_no_list_of_texts_is_refused(model: RerankModel) -> None:
    with pytest.raises(InvalidRequestError, match="documents is one text"):
        model.rerank(QUERY, "a document")
    with pytest.raises(InvalidRequestError, match="documents: item 1 is a int"):
        model.rerank(QUERY, ["a", 1])  # type: ignore[list-item]
    with pytest.raises(InvalidRequestError, match="query: item 0 is a NoneType"):
        model.rerank(None, ["a"])  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="top_n is 0"):
        model.rerank(QUERY, ["a"], top_n=0)
    with pytest.raises(InvalidRequestError, match="pair 0 has 1 texts"):
        model.score([("a",)])  # type: ignore[list-item]
    with pytest.raises(InvalidRequestError, match="no template that shows one"):
        model.rerank(QUERY, ["a"], instruction="find")


def test_a_graph_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="it is no reranker"):
        RerankModel("tiny_chat", num_kv_blocks=8)
