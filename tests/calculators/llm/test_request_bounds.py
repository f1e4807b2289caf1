"""What all answers to a request may have together."""

from typing import Any

import pytest

from calculators.llm.request_bounds import RequestBounds
from server.errors import InvalidRequestError
from server.payloads import GenerationRequest, SamplingFields, TokenizedPrompt

BOUNDS = RequestBounds(max_tokens_per_request=1000, max_logprobs_per_request=300)


def apply(num_prompts: int = 1, room: int = 5000, **sampling: Any) -> int | None:
    """The max_tokens of a prompt of ten tokens."""
    fields = SamplingFields(**sampling)
    request = GenerationRequest("r", prompt="x", sampling=fields, num_prompts=num_prompts)
    BOUNDS.apply(fields, TokenizedPrompt(request, tuple(range(10)), "x"), room)
    return fields.get("max_tokens")


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 1000},
        {"n": 10, "max_tokens": 100},
        {"n": 2, "num_prompts": 5, "max_tokens": 100},
        {"num_beams": 10, "n": 2, "max_tokens": 100},
        {"logprobs": 0, "max_tokens": 300},
        {"n": 10, "logprobs": 2, "max_tokens": 10},
        {"max_tokens": 0, "prompt_logprobs": 19, "logprobs": 19},
        {"n": 5, "prompt_logprobs": 1, "logprobs": 1, "max_tokens": 20},
    ],
)
def test_up_to_the_bound_is_possible(fields: Any) -> None:
    assert apply(**fields) == fields["max_tokens"]


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"max_tokens": 1001}, "max_tokens", "1001 tokens; .*1000: .* its option max_tokens_per_"),
        ({"n": 11, "max_tokens": 100}, "max_tokens", "1100 tokens"),
        ({"n": 2, "num_prompts": 6, "max_tokens": 100}, "max_tokens", "1200 tokens"),
        ({"num_beams": 11, "n": 2, "max_tokens": 100}, "max_tokens", "1100 tokens"),
        (
            {"n": 10, "logprobs": 2, "max_tokens": 11},
            "max_tokens",
            "330 log probabilities; .*300: .* its option max_logprobs_per_request",
        ),
        (
            {"n": 5, "prompt_logprobs": 1, "logprobs": 1, "max_tokens": 21},
            "max_tokens",
            "310 log probabilities",
        ),
        ({"n": 2, "prompt_logprobs": 19, "max_tokens": 1}, "prompt_logprobs", "400 log prob"),
    ],
)
def test_beyond_it_the_request_is_refused(fields: Any, param: str, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        apply(**fields)
    assert caught.value.param == param


def test_without_max_tokens_the_answers_end_at_the_bound() -> None:
    assert apply(n=3) == 333
    assert apply(n=3, logprobs=4) == 20
    assert apply(room=50) is None
    assert apply(room=50, logprobs=9) == 30
    with pytest.raises(InvalidRequestError, match="1001 tokens"):
        apply(num_prompts=1001)
