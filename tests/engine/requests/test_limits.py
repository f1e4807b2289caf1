"""Requests that a model cannot serve are refused before they run."""

import pytest

from server.engine.requests.limits import RequestLimits
from server.errors import InvalidRequestError

LIMITS = RequestLimits(
    vocab_size=100,
    num_logits=100,
    num_kv_tokens=1000,
    max_num_tokens=1000,
    limited_by="the model's context",
    max_num_seqs=8,
    max_num_prompt_tokens=None,
    block_size=32,
)


@pytest.mark.parametrize(("num_prompt", "max_tokens"), [(30, 10), (41, 500)])
def test_beams_on_one_side_of_a_rope_switch(num_prompt: int, max_tokens: int) -> None:
    LIMITS.check_beams_stay_short(num_prompt, max_tokens, 40)


@pytest.mark.parametrize(("num_prompt", "max_tokens"), [(30, 11), (40, 1)])
def test_beams_across_a_rope_switch(num_prompt: int, max_tokens: int) -> None:
    with pytest.raises(InvalidRequestError, match="beyond 40 tokens") as caught:
        LIMITS.check_beams_stay_short(num_prompt, max_tokens, 40)
    assert caught.value.param == "max_tokens"
