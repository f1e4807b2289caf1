import json
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import ScoringResponse
from server.protocol.scoring.score import parse_score


@pytest.mark.parametrize(
    ("first", "second", "pairs"),
    [
        ("a", "b", [("a", "b")]),
        ("a", ["b", "c"], [("a", "b"), ("a", "c")]),
        (["a"], ["b", "c"], [("a", "b"), ("a", "c")]),
        (["a", "b"], ["c", "d"], [("a", "c"), ("b", "d")]),
    ],
)
@pytest.mark.parametrize(
    "names",
    [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")],
)
def test_pairs(first: Any, second: Any, pairs: Any, names: tuple[str, str]) -> None:
    call = parse_score({"model": "m", names[0]: first, names[1]: second})
    assert list(call.request.pairs) == pairs
    assert not call.request.is_probability


def test_the_answer_is_vllms() -> None:
    call = parse_score({"model": "m", "text_1": "a", "text_2": ["b", "c"]})
    answer = json.loads(b"".join(call.answer(ScoringResponse(((0.5,), (-2,)), 9))))
    assert answer["object"] == "list"
    assert answer["model"] == "m"
    assert answer["data"] == [
        {"index": 0, "object": "score", "score": 0.5},
        {"index": 1, "object": "score", "score": -2},
    ]
    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "two sides are needed: .*; found none of them"),
        ({"text_1": "a"}, "found text_1"),
        ({"text_1": "a", "documents": "b"}, "found documents and text_1"),
        ({"text_1": "a", "text_2": []}, "text_2 is an empty list"),
        ({"text_1": [], "text_2": "a"}, "text_1 is an empty list"),
        ({"text_1": ["a", "b"], "text_2": "c"}, "has 2 texts and text_2 1; .* 1:1, 1:N or N:N"),
        ({"text_1": ["a", 1], "text_2": "c"}, r"text_1\[1\] must be a string"),
        ({"text_1": {"content": []}, "text_2": "c"}, "text_1 must be a string, found an object"),
    ],
)
def test_what_cannot_be_served_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        parse_score({"model": "m", **fields})
