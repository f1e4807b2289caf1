"""The fields by which a request asks for a beam search, on every endpoint that has them."""

from collections.abc import Callable
from typing import Any

import pytest
from support.chat_calls import checked

from server.errors import InvalidRequestError
from server.protocol.generation_call import GenerationCall
from server.protocol.openai.chat_completions import parse_chat_completion
from server.protocol.openai.completions import parse_completion
from server.protocol.responses.responses import parse_response

Parse = Callable[..., GenerationCall]

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(params=["chat", "completion"])
def parse(request: pytest.FixtureRequest) -> Parse:
    def call(**fields: Any) -> GenerationCall:
        if request.param == "chat":
            return checked(parse_chat_completion({"model": "m", **CHAT, **fields}))
        return checked(parse_completion({"model": "m", "prompt": "hi", **fields}))

    return call


@pytest.mark.parametrize(
    ("fields", "sampling", "best_of"),
    [
        ({"num_beams": 1}, {"num_beams": 1}, None),
        ({"num_beams": 1, "temperature": 0.7}, {"num_beams": 1, "temperature": 0.7}, None),
        ({"use_beam_search": False, "n": 2}, {"n": 2}, None),
        ({"num_beams": 4}, {"num_beams": 4, "temperature": 0.0}, None),
        ({"num_beams": 128, "temperature": 0}, {"num_beams": 128, "temperature": 0.0}, None),
        ({"num_beams": 4, "n": 3}, {"num_beams": 4, "temperature": 0.0, "n": 3}, None),
        ({"num_beams": 4, "best_of": 4}, {"num_beams": 4, "temperature": 0.0}, 4),
        ({"use_beam_search": True, "n": 3}, {"num_beams": 3, "temperature": 0.0, "n": 3}, None),
        (
            {"use_beam_search": True, "n": 2, "best_of": 3},
            {"num_beams": 3, "temperature": 0.0, "n": 2},
            3,
        ),
        ({"use_beam_search": True, "num_beams": 2}, {"num_beams": 2, "temperature": 0.0}, None),
        ({"best_of": 5, "temperature": 0}, {"num_beams": 5, "temperature": 0.0}, 5),
        ({"best_of": 5, "temperature": 0.5}, {"temperature": 0.5}, 5),
        ({"best_of": 5}, {}, 5),
        ({"best_of": 1, "temperature": 0}, {"temperature": 0.0}, 1),
        (
            {"num_beams": 4, "length_penalty": -10, "early_stopping": "never"},
            {
                "num_beams": 4,
                "temperature": 0.0,
                "length_penalty": -10.0,
                "early_stopping": "never",
            },
            None,
        ),
        (
            {"num_beams": 4, "length_penalty": 10, "early_stopping": True},
            {"num_beams": 4, "temperature": 0.0, "length_penalty": 10.0, "early_stopping": True},
            None,
        ),
        ({"length_penalty": 1}, {"length_penalty": 1.0}, None),
        ({"early_stopping": True}, {"early_stopping": True}, None),
        ({"num_beams": None, "use_beam_search": None, "early_stopping": None}, {}, None),
    ],
    ids=str,
)
def test_every_way_to_ask_for_a_beam_search(
    parse: Parse, fields: dict[str, Any], sampling: dict[str, Any], best_of: int | None
) -> None:
    call = parse(**fields)
    (request,) = call.prompts
    assert request.sampling == sampling
    assert request.best_of == best_of
    assert call.num_choices == fields.get("n", 1)


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"num_beams": 0}, "num_beams", "num_beams must be at least 1, found the number 0"),
        ({"num_beams": 129}, "num_beams", "num_beams must be at most 128"),
        ({"num_beams": True}, "num_beams", "must be an integer"),
        ({"use_beam_search": 1}, "use_beam_search", "must be true or false"),
        ({"num_beams": 2, "length_penalty": 10.5}, "length_penalty", "must be at most 10.0"),
        ({"num_beams": 2, "length_penalty": -10.5}, "length_penalty", "must be at least -10.0"),
        ({"num_beams": 2, "length_penalty": "1"}, "length_penalty", "must be a number"),
        ({"num_beams": 2, "early_stopping": 1}, "early_stopping", "found the number 1"),
        ({"num_beams": 2, "early_stopping": "no"}, "early_stopping", "found the string 'no'"),
        ({"num_beams": 2, "early_stopping": []}, "early_stopping", "found a list"),
        ({"num_beams": 2, "temperature": 1}, "temperature", "in a beam search it has no effect"),
        ({"num_beams": 2, "top_p": 0.5}, "top_p", "in a beam search it has no effect"),
        ({"num_beams": 2, "top_k": 5}, "top_k", "in a beam search it has no effect"),
        ({"num_beams": 2, "min_p": 0.5}, "min_p", "in a beam search it has no effect"),
        ({"best_of": 2, "temperature": 0, "top_p": 0.5}, "top_p", "in a beam search"),
        ({"num_beams": 2, "n": 3}, "n", "n is 3; a search with 2 beams finds no more answers"),
        ({"num_beams": 2, "best_of": 3}, "best_of", "best_of is 3 and num_beams 2"),
        ({"num_beams": 2, "stream": True}, "stream", r"with a beam search \(num_beams 2\)"),
        (
            {"best_of": 2, "n": 2, "temperature": 0, "stream": True},
            "stream",
            r"with a beam search \(best_of 2\)",
        ),
        ({"num_beams": 2, "use_beam_search": False}, "use_beam_search", "is false, but num_beams"),
        (
            {"best_of": 2, "temperature": 0, "use_beam_search": False},
            "use_beam_search",
            "is false, but best_of 2",
        ),
        ({"use_beam_search": True}, "use_beam_search", "needs several beams"),
        ({"use_beam_search": True, "n": 1}, "use_beam_search", "needs several beams"),
        ({"use_beam_search": True, "n": 129}, "n", "n must be at most 128"),
        ({"best_of": 129, "temperature": 0}, "best_of", "best_of must be at most 128"),
    ],
    ids=str,
)
def test_refused_fields_are_named(
    parse: Parse, fields: dict[str, Any], param: str, problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as error:
        parse(**fields)
    assert error.value.param == param


def test_a_beam_search_needs_something_to_search_for() -> None:
    fields = {"echo": True, "max_tokens": 0, "num_beams": 2}
    call = parse_completion({"model": "m", "prompt": "hi", **fields})
    with pytest.raises(InvalidRequestError, match="max_tokens is 0; a beam search needs at least"):
        checked(call)


def test_a_response_is_the_best_answer() -> None:
    call = parse_response({"model": "m", "input": "hi", "num_beams": 3})
    assert call.prompts[0].sampling == {"num_beams": 3, "temperature": 0.0}
    assert call.num_choices == 1
