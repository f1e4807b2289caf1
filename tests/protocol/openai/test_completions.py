"""Bodies of completions, understood or refused."""

import json
from typing import Any

import pytest
from support.chat_calls import checked

from server.errors import InvalidRequestError
from server.payloads import TextChunk, TokenLogprobs
from server.protocol.generation_call import Choice, GenerationCall
from server.protocol.openai.completions import parse_completion


def parse(**fields: Any) -> GenerationCall:
    return checked(parse_completion({"model": "m", "prompt": "hi", **fields}))


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
    "best_of": [0, 129],
    "prompt_logprobs": [True, -1, 21, 1.0, "1"],
    "max_tokens": [0, True],
    "suffix": ["x"],
    "response_format": [{"type": "xml"}],
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


@pytest.mark.parametrize(
    ("fields", "num_top"),
    [
        ({}, None),
        ({"logprobs": 2}, None),
        ({"echo": True}, None),
        ({"echo": True, "logprobs": 0}, 0),
        ({"echo": True, "logprobs": 2}, 2),
        ({"prompt_logprobs": 3}, 3),
        ({"prompt_logprobs": 3, "echo": True, "logprobs": 2}, 3),
        ({"prompt_logprobs": 1, "echo": True, "logprobs": 2}, 2),
    ],
)
def test_log_probabilities_of_the_prompt(fields: dict[str, Any], num_top: int | None) -> None:
    sampling = parse(**fields).prompts[0].sampling
    assert sampling.get("prompt_logprobs") == num_top
    assert sampling.get("logprobs") == fields.get("logprobs")


def test_log_probabilities_of_all_prompts_together_are_bounded() -> None:
    prompts = [[1] * 2**15] * 64
    assert len(parse(prompt=prompts, echo=True, logprobs=1).prompts) == 64
    assert len(parse(prompt=prompts, logprobs=5).prompts) == 64
    for fields in ({"n": 2}, {"prompt": [*prompts, [1]]}, {"prompt_logprobs": 2}):
        with pytest.raises(InvalidRequestError, match="can be at most 4194304"):
            parse(**{"prompt": prompts, "echo": True, "logprobs": 1, **fields})


def test_a_range_error_names_the_field_that_was_sent() -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse(echo=True, logprobs=21)
    assert (error.value.param, str(error.value)) == (
        "logprobs",
        "logprobs must be at most 20, found the number 21",
    )


def test_max_tokens_0_needs_an_echo() -> None:
    assert parse(echo=True, max_tokens=0).prompts[0].sampling == {"max_tokens": 0}
    with pytest.raises(InvalidRequestError, match="max_tokens is 0; it must be at least 1"):
        parse(max_tokens=0)


def entry(text: str, logprob: float | None, *top: tuple[str, float], at: int = 0) -> TokenLogprobs:
    tops = tuple(TokenLogprobs(t, t.encode(), p, (), at, ord(t[0])) for t, p in top)
    return TokenLogprobs(text, text.encode(), logprob, tops, at, ord(text[0]))


PROMPT = (entry("a", None), entry("b", -2.0, ("c", -0.5), ("d", -1.0), at=1))
ANSWER = TextChunk(
    0, "abe", 2, 1, 0, (entry("e", -0.1, ("e", -0.1), ("f", -3.0), at=2),), "length",
    prompt_logprobs=PROMPT,
)  # fmt: skip


def render(**fields: Any) -> dict[str, Any]:
    renderer = parse(**fields).renderer
    choice = renderer.new_choice()
    choice.add(ANSWER)
    (rendered,) = json.loads(b"".join(renderer.whole([choice], {})))["choices"]
    return rendered


def test_an_echo_has_the_log_probabilities_of_the_prompt_in_front() -> None:
    assert render(echo=True, logprobs=2)["logprobs"] == {
        "tokens": ["a", "b", "e"],
        "token_logprobs": [None, -2.0, -0.1],
        "top_logprobs": [None, {"c": -0.5, "d": -1.0, "b": -2.0}, {"e": -0.1, "f": -3.0}],
        "text_offset": [0, 1, 2],
    }
    fewer = render(echo=True, logprobs=1, prompt_logprobs=2)
    assert fewer["logprobs"]["top_logprobs"][1] == {"c": -0.5, "b": -2.0}
    assert fewer["prompt_logprobs"] == [
        None,
        {
            "99": {"logprob": -0.5, "decoded_token": "c"},
            "100": {"logprob": -1.0, "decoded_token": "d"},
            "98": {"logprob": -2.0, "decoded_token": "b"},
        },
    ]


def test_without_an_echo_only_the_answer_has_log_probabilities() -> None:
    found = render(logprobs=2, prompt_logprobs=0)
    assert found["logprobs"]["tokens"] == ["e"]
    assert found["prompt_logprobs"] == [None, {"98": {"logprob": -2.0, "decoded_token": "b"}}]
    assert "prompt_logprobs" not in render(logprobs=2)


def test_of_tokens_with_the_same_text_the_likeliest_is_shown() -> None:
    pieces = entry("\ufffd", -3.0, ("\ufffd", -0.5), ("x", -1.0))
    chunk = TextChunk(0, "\ufffd", 2, 1, 0, (pieces,), "length")
    event = parse(logprobs=2).renderer.chunk(chunk)
    assert event is not None
    (choice,) = json.loads(event.removeprefix(b"data: "))["choices"]
    assert choice["logprobs"]["token_logprobs"] == [-3.0]
    assert choice["logprobs"]["top_logprobs"] == [{"\ufffd": -0.5, "x": -1.0}]


def test_token_ids_only_where_they_are_asked_for() -> None:
    chunk = TextChunk(0, "", 3, 2, token_ids=(7, 8))
    choice = Choice()
    choice.add(chunk)
    for flag in (True, False):
        renderer = parse(return_token_ids=flag).renderer
        (whole,) = json.loads(b"".join(renderer.whole([choice], {})))["choices"]
        assert whole.get("token_ids") == ([7, 8] if flag else None)
    assert parse().renderer.chunk(chunk) is None
    event = parse(return_token_ids=True).renderer.chunk(chunk)
    assert event is not None
    assert json.loads(event.removeprefix(b"data: "))["choices"][0]["token_ids"] == [7, 8]
