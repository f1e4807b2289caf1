"""How the node turns a request into sampling parameters; the engine itself is real elsewhere."""

from types import SimpleNamespace

import pytest

from calculators.llm_executor_calculator import LLMExecutorCalculator
from server.errors import InvalidRequestError
from server.payloads import GenerationRequest, SamplingFields, TokenizedPrompt


def max_tokens_for(
    limit: int | None = None, default: int | None = None, **fields: int
) -> int | None:
    node = LLMExecutorCalculator()
    node._max_tokens_limit = limit
    node._engine = SimpleNamespace(max_num_tokens=100, sampling_defaults=SamplingFields(top_k=3))
    request = GenerationRequest(
        "r", prompt="x", sampling=SamplingFields(**fields), default_max_tokens=default
    )
    params = node._params(TokenizedPrompt(request, tuple(range(90))))
    assert params.top_k == fields.get("top_k", 3)
    return params.max_tokens


def test_the_client_decides() -> None:
    assert max_tokens_for(max_tokens=7, default=16) == 7
    assert max_tokens_for(max_tokens=7, limit=7, top_k=9) == 7


def test_without_a_word_the_answer_goes_on() -> None:
    assert max_tokens_for() is None


def test_a_default_gives_way_to_the_limit_and_the_room() -> None:
    assert max_tokens_for(default=5) == 5
    assert max_tokens_for(default=16) == 10
    assert max_tokens_for(default=16, limit=4) == 4
    assert max_tokens_for(limit=4) == 4


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="max_tokens is 8; this graph allows at most 7"):
        max_tokens_for(max_tokens=8, limit=7)
