"""Bodies of completions, understood or refused."""

from typing import Any

import pytest

from server.api.protocol.answer import GenerationCall
from server.api.protocol.completions import parse_completion
from server.errors import InvalidRequestError


def parse(**fields: Any) -> GenerationCall:
    return parse_completion({"model": "m", "prompt": "hi", **fields})


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        ("\0", ["\0"]),
        (["a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [(1, 2)]),
        ([0], [(0,)]),
        ([[1, 2], [3]], [(1, 2), (3,)]),
    ],
)
def test_prompt(prompt: Any, prompts: list[Any]) -> None:
    call = parse(prompt=prompt)
    assert [request.prompt for request in call.prompts] == prompts
    assert len({request.request_id for request in call.prompts}) == len(prompts)


def test_every_prompt_gets_the_same_sampling() -> None:
    call = parse(prompt=["a", "b"], n=2, stop="x", echo=True, logprobs=None, max_tokens=3)
    assert call.num_choices == 2
    for request in call.prompts:
        assert request.sampling == {"n": 2, "max_tokens": 3}
        assert (request.stop, request.echo) == (("x",), True)


def test_logprobs_is_a_number() -> None:
    assert parse(logprobs=0).prompts[0].sampling == {"logprobs": 0}
    assert parse(logprobs=20).prompts[0].sampling == {"logprobs": 20}


BAD_VALUES: dict[str, list[Any]] = {
    "prompt": ["", [], [""], [[]], 1, True, {}, ["a", 1], ["a", ["b"]], [1, "a"], [True], [1.0],
               [-1], [2**31], [[1], "a"], [[1], [True]], [{}], [None], ["a"] * 1025],
    "echo": [1, "true"],
    "logprobs": [True, -1, 21, 1.0, "1", 2**40],
    "best_of": [2],
    "max_tokens": [0, True],
    "suffix": ["x"],
    "messages": [[]],
    "max_completion_tokens": [1],
    "response_format": [{"type": "json_object"}],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VALUES)
def test_bad_value_is_refused_by_name(name: str) -> None:
    for value in BAD_VALUES[name]:
        with pytest.raises(InvalidRequestError) as error:
            parse(**{name: value})
        assert error.value.param == name, value
        assert name in str(error.value)


def test_prompt_is_required() -> None:
    with pytest.raises(InvalidRequestError, match="prompt is missing"):
        parse(prompt=None)


def test_echo_with_logprobs_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="echo together with logprobs"):
        parse(echo=True, logprobs=1)
