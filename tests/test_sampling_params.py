from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.sampling_params import SamplingParams

BEAMS = {"num_beams": 4, "temperature": 0.0}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 4},
        {"num_beams": 128},
        {"length_penalty": -10.0},
        {"length_penalty": 10.0, "early_stopping": "never"},
        {"early_stopping": True},
        {"seed": 5},
    ],
)
def test_parameters_of_a_beam_search(fields: dict[str, Any]) -> None:
    params = SamplingParams(**{**BEAMS, **fields})
    assert params.num_sequences == params.num_beams


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"num_beams": 0}, "num_beams", "num_beams is 0; it must be from 1 to 128"),
        ({"num_beams": 129}, "num_beams", "num_beams is 129"),
        ({"n": 5}, "n", "n is 5; a search with 4 beams finds no more answers"),
        ({"temperature": 0.1}, "temperature", "is 0.1; in a beam search it has no effect"),
        ({"top_k": 5}, "top_k", "top_k is 5; in a beam search it has no effect"),
        ({"top_p": 0.9}, "top_p", "top_p is 0.9; in a beam search it has no effect"),
        ({"min_p": 0.1}, "min_p", "min_p is 0.1; in a beam search it has no effect"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens is 0; a beam search needs at least 1"),
        ({"length_penalty": 10.1}, "length_penalty", "it must be from -10.0 to 10.0"),
        ({"length_penalty": -10.1}, "length_penalty", "it must be from -10.0 to 10.0"),
        ({"length_penalty": float("nan")}, "length_penalty", "it must be from -10.0 to 10.0"),
        (
            {"early_stopping": "always"},
            "early_stopping",
            "must be true, false or 'never', found the string 'always'",
        ),
    ],
)
def test_what_has_no_effect_on_a_beam_search_is_refused(
    fields: dict[str, Any], param: str, problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as error:
        SamplingParams(**{**BEAMS, **fields})
    assert error.value.param == param


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"allowed_token_ids": ()}, "allowed_token_ids", "at least one token must be possible"),
        ({"allowed_token_ids": (1,) * (2**18 + 1)}, "allowed_token_ids", "at most 262144"),
        ({"bad_word_ids": ((1,),) * 1001}, "bad_word_ids", "bad_word_ids has 1001 tokens"),
        ({"seed": 2**63}, "seed", "seed is"),
        ({"seed": -(2**63) - 1}, "seed", "seed is"),
        ({"top_k": -2}, "top_k", "or -1 or 0 for all tokens"),
    ],
)
def test_limits_of_tokens_and_seeds(fields: dict[str, Any], param: str, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as error:
        SamplingParams(**fields)
    assert error.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"num_assistant_tokens": 0}, 0),
        ({"num_assistant_tokens": 7}, 7),
        ({"num_assistant_tokens": 7, "assistant_confidence_threshold": 0.0}, 7),
        ({"num_assistant_tokens": 0, "assistant_confidence_threshold": 0.4}, None),
        ({"assistant_confidence_threshold": 0.4}, None),
    ],
)
def test_how_many_tokens_may_be_proposed(fields: dict[str, Any], expected: int | None) -> None:
    assert SamplingParams(**fields).max_draft_tokens == expected


def test_the_number_of_proposed_tokens_is_fixed_or_depends_on_confidence() -> None:
    with pytest.raises(InvalidRequestError, match="num_assistant_tokens is 3 and assistant_con"):
        SamplingParams(num_assistant_tokens=3, assistant_confidence_threshold=0.4)
