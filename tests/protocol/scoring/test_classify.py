import json
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import ScoringResponse
from server.protocol.scoring.classify import parse_classify


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("a", ("a",)),
        ("", ("",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3], "a"], ((1,), (2, 3), "a")),
    ],
)
def test_inputs(value: Any, inputs: Any) -> None:
    assert parse_classify({"model": "m", "input": value}).request.inputs == inputs


def test_the_answer_is_vllms() -> None:
    call = parse_classify({"model": "m", "input": ["a", "b"]})
    response = ScoringResponse(((0.25, 0.75), (0.5, 0.5)), 9, ("bad", "good"))
    answer = json.loads(b"".join(call.answer(response)))
    assert answer["data"] == [
        {"index": 0, "label": "good", "probs": [0.25, 0.75], "num_classes": 2},
        {"index": 1, "label": "bad", "probs": [0.5, 0.5], "num_classes": 2},
    ]
    assert (answer["object"], answer["model"]) == ("list", "m")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "input is missing"),
        ({"input": []}, "input is an empty list"),
        ({"input": 1}, "input must be a string, token ids, or a list of either"),
        ({"input": [[]]}, r"input\[0\] has no tokens"),
        ({"input": ["a", 1]}, r"input\[1\] must be a string"),
        ({"input": [1, "a"]}, r"input\[1\] must be a token id"),
        ({"input": [-1]}, r"input\[0\] must be a token id from 0"),
        ({"input": [True]}, r"input\[0\] must be a token id from 0 .*, found true"),
        ({"input": "a", "messages": [{}]}, "messages is not supported"),
    ],
)
def test_what_cannot_be_served_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        parse_classify({"model": "m", **fields})
