import json
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import ScoringResponse
from server.protocol.scoring.rerank import RerankCall, parse_rerank

BODY: dict[str, Any] = {"model": "m", "query": "q", "documents": ["a", "b", "c"]}


def parse(**fields: Any) -> RerankCall:
    return parse_rerank({**BODY, **fields}, returns_documents=False)


def results(call: RerankCall, *scores: float) -> list[dict[str, Any]]:
    rows = tuple((score,) for score in scores)
    answer = json.loads(b"".join(call.answer(ScoringResponse(rows, 7), "1")))
    assert answer["model"] == "m"
    assert answer["id"].startswith("rerank-")
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer["meta"] == {"api_version": {"version": "1"}, "tokens": {"input_tokens": 7}}
    found: list[dict[str, Any]] = answer["results"]
    return found


def test_documents_come_in_the_order_of_their_scores() -> None:
    assert parse().request.pairs == (("q", "a"), ("q", "b"), ("q", "c"))
    assert results(parse(), 0.25, 0.5, 0.25) == [
        {"index": 1, "relevance_score": 0.5},
        {"index": 0, "relevance_score": 0.25},
        {"index": 2, "relevance_score": 0.25},
    ]


@pytest.mark.parametrize(("top_n", "number"), [(None, 3), (0, 3), (1, 1), (3, 3), (10**30, 3)])
def test_top_n_limits_the_results(top_n: int | None, number: int) -> None:
    assert len(results(parse(top_n=top_n), 1, 2, 3)) == number


def test_documents_are_returned_if_asked_for_or_by_default() -> None:
    call = parse(return_documents=True)
    assert results(call, 3, 2, 1)[0] == {
        "index": 0,
        "relevance_score": 3,
        "document": {"text": "a"},
    }
    assert "document" in results(parse_rerank(BODY, returns_documents=True), 1, 2, 3)[0]
    refused = parse_rerank({**BODY, "return_documents": False}, returns_documents=True)
    assert "document" not in results(refused, 1, 2, 3)[0]


def test_objects_are_read_by_rank_fields_and_returned_whole() -> None:
    documents = [{"title": "t", "text": "a", "year": 1999}, {"text": "b"}]
    call = parse(documents=documents, return_documents=True)
    assert [text for _, text in call.request.pairs] == ["a", "b"]
    assert results(call, 2, 1)[0]["document"] == documents[0]
    call = parse(documents=documents, rank_fields=["title", "text"])
    assert [text for _, text in call.request.pairs] == ["t\na", "b"]


def test_the_other_fields_reach_the_model() -> None:
    call = parse(
        max_tokens_per_doc=5,
        max_chunks_per_doc=2,
        truncate_prompt_tokens=-1,
        instruction="find",
        use_activation=False,
    )
    request = call.request
    assert (request.max_tokens_per_doc, request.max_chunks_per_doc) == (5, 2)
    assert (request.truncate_prompt_tokens, request.instruction) == (-1, "find")
    assert request.use_activation is False
    assert parse(max_doc_length=9).request.max_tokens_per_doc == 9
    assert parse(user="x", truncation=True).unknown_fields.names == ()
    assert parse(top_p=1).unknown_fields.names == ("top_p",)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"query": None}, "query is not a string, found null"),
        ({"query": 1}, "query is not a string, found the number 1"),
        ({"documents": None}, "documents is not an array, found null"),
        ({"documents": "a"}, "documents is not an array, found the string 'a'"),
        ({"documents": {"text": "a"}}, "documents is not an array, found an object"),
        ({"documents": []}, "documents is an empty list"),
        ({"documents": ["a", 1]}, "documents array element is neither string nor object"),
        ({"documents": [["a"]]}, r"documents\[0\] is a list"),
        ({"documents": ["a", {"text": "b"}]}, "all documents have to be the same type"),
        ({"documents": [{"text": "a"}, "b"]}, "all documents have to be the same type"),
        ({"documents": [{"title": "a"}]}, r"document text field is missing in documents\[0\]"),
        ({"documents": [{"text": 1}]}, "document text field have to be string"),
        ({"documents": [{"title": 1, "text": "a"}]}, "document title field have to be string"),
        ({"documents": [{"text": "a"}], "rank_fields": ["x", "y"]}, "x or y field is missing"),
        ({"top_n": "1"}, "top_n accepts integer values, found the string"),
        ({"top_n": 1.5}, "top_n accepts integer values, found the number 1.5"),
        ({"top_n": True}, "top_n accepts integer values, found true"),
        ({"top_n": -1}, "top_n must be at least 0, found the number -1"),
        ({"rank_fields": "text"}, "rank_fields is not an array"),
        ({"rank_fields": [1]}, "rank_fields array element is not a string"),
        ({"return_documents": 1}, "return_documents accepts boolean values"),
        ({"return_documents": "yes"}, "return_documents accepts boolean values"),
        ({"max_chunks_per_doc": "1"}, "max_chunks_per_doc accepts integer values"),
        ({"max_chunks_per_doc": 0}, "max_chunks_per_doc must be at least 1"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc must be at least 1"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens is 0; it must be at least 1"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens must be at least -1"),
        ({"model": None}, "model is missing"),
        ({"model": 1}, "model must be a string"),
        ({"return_embeddings": True}, "return_embeddings is not supported"),
        ({"truncation_side": "left"}, "truncation_side is not supported"),
    ],
)
def test_what_cannot_be_served_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        parse(**fields)
