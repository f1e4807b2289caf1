"""The parameters of the engine, from those of the client, the model and the graph."""

from typing import Any

import pytest

from calculators.llm.generation_limits import GenerationLimits
from calculators.llm.request_bounds import RequestBounds
from server.errors import InvalidRequestError
from server.payloads import GenerationRequest, SamplingFields, SamplingParams, TokenizedPrompt


def limits(**fields: Any) -> GenerationLimits:
    return GenerationLimits(
        **{
            "defaults": SamplingFields(top_k=3),
            "max_num_tokens": 100,
            "max_num_prompt_tokens": None,
            "max_tokens_limit": None,
            "best_of_limit": 20,
            "max_num_seqs": 256,
            "bounds": RequestBounds(2**22, 2**20),
            "room": lambda num_tokens, num_beams: (100 - num_tokens) // num_beams,
            **fields,
        }
    )


def prompt(num_tokens: int = 90, sampling: Any = None, **fields: Any) -> TokenizedPrompt:
    request = GenerationRequest("r", prompt="x", sampling=sampling or {}, **fields)
    return TokenizedPrompt(request, tuple(range(num_tokens)), "x")


def resolve(
    limit: int | None = None, default: int | None = None, of_model: int | None = None, **fields: int
) -> SamplingParams:
    defaults = SamplingFields(top_k=3) if of_model is None else SamplingFields(max_tokens=of_model)
    asked = prompt(sampling=fields, default_max_tokens=default)
    return limits(max_tokens_limit=limit, defaults=defaults).resolve(asked)


def test_the_client_decides() -> None:
    assert resolve(max_tokens=7, default=16).max_tokens == 7
    assert resolve(max_tokens=7, limit=7, top_k=9).top_k == 9
    assert resolve(max_tokens=70, of_model=5).max_tokens == 70
    assert resolve(max_tokens=0, of_model=5).max_tokens == 0


def test_without_fields_of_the_client_the_models_defaults_count() -> None:
    assert resolve().max_tokens is None
    assert resolve().top_k == 3


def test_a_default_gives_way_to_the_limit_and_the_room() -> None:
    assert resolve(default=5).max_tokens == 5
    assert resolve(default=16).max_tokens == 10
    assert resolve(default=16, limit=4).max_tokens == 4
    assert resolve(limit=4).max_tokens == 4
    assert resolve(of_model=4).max_tokens == 4
    assert resolve(of_model=50).max_tokens == 10
    assert resolve(of_model=8, default=5).max_tokens == 5


@pytest.mark.parametrize(
    ("asked", "limit", "expected"), [(7, None, 7), (70, None, 10), (70, 4, 4), (3, 4, 3)]
)
def test_a_limit_that_may_be_reduced(asked: int, limit: int | None, expected: int) -> None:
    wanted = prompt(sampling={"max_tokens": asked}, reduce_max_tokens=True)
    defaults = SamplingFields(max_tokens=2)
    params = limits(max_tokens_limit=limit, defaults=defaults).resolve(wanted)
    assert params.max_tokens == expected


def test_more_than_the_limit_is_refused() -> None:
    assert resolve(max_tokens=7, limit=7).max_tokens == 7
    with pytest.raises(InvalidRequestError, match="max_tokens is 8; this graph allows at most 7"):
        resolve(max_tokens=8, limit=7)


def test_the_best_of_several_are_all_generated_with_log_probabilities() -> None:
    params = limits().resolve(prompt(sampling={"n": 2}, best_of=5))
    assert (params.n, params.logprobs) == (5, 0)
    params = limits().resolve(prompt(sampling={"n": 2, "logprobs": 4}, best_of=5))
    assert (params.n, params.logprobs) == (5, 4)
    params = limits().resolve(prompt(sampling={"n": 2}, best_of=2))
    assert (params.n, params.logprobs) == (2, None)


def test_best_of_is_below_the_limit_of_the_graph() -> None:
    assert limits().resolve(prompt(best_of=19)).n == 19
    with pytest.raises(InvalidRequestError, match="best_of is 20; this graph allows less than 20"):
        limits().resolve(prompt(best_of=20))
    assert limits(best_of_limit=3).resolve(prompt(best_of=2)).n == 2
    with pytest.raises(InvalidRequestError, match="best_of is 3; this graph allows less than 3"):
        limits(best_of_limit=3).resolve(prompt(best_of=3))


def test_best_of_without_randomness_is_a_beam_search() -> None:
    params = limits().resolve(prompt(sampling={"n": 2, "temperature": 0.0}, best_of=5))
    assert (params.n, params.num_beams, params.logprobs) == (2, 5, None)
    params = limits().resolve(prompt(sampling={"n": 5, "temperature": 0.0}, best_of=5))
    assert (params.n, params.num_beams) == (5, 5)
    of_model = limits(defaults=SamplingFields(temperature=0.0, top_p=0.5))
    assert of_model.resolve(prompt(best_of=5)).num_beams == 5
    assert of_model.resolve(prompt(best_of=1)).num_beams == 1


def test_a_beam_search_has_no_use_for_random_defaults() -> None:
    defaults = SamplingFields(
        temperature=0.7, top_k=3, top_p=0.5, min_p=0.1, repetition_penalty=1.2
    )
    asked = prompt(sampling={"num_beams": 4, "temperature": 0.0})
    params = limits(defaults=defaults).resolve(asked)
    assert params == SamplingParams(num_beams=4, temperature=0.0, repetition_penalty=1.2)
    asked = prompt(sampling={"num_beams": 4, "temperature": 0.0, "top_p": 0.5})
    with pytest.raises(InvalidRequestError, match=r"top_p is 0\.5; in a beam search"):
        limits(defaults=defaults).resolve(asked)


def test_num_beams_are_below_the_limit_of_best_of() -> None:
    def beams(num_beams: int) -> TokenizedPrompt:
        return prompt(sampling={"num_beams": num_beams, "temperature": 0.0})

    assert limits().resolve(beams(19)).num_beams == 19
    with pytest.raises(InvalidRequestError, match=r"num_beams is 20; .* \(best_of_limit\)"):
        limits().resolve(beams(20))
    assert limits(best_of_limit=1).resolve(beams(1)).num_beams == 1


def test_a_default_gives_way_to_the_room_that_beams_have() -> None:
    fields = {"num_beams": 3, "temperature": 0.0}
    assert limits().resolve(prompt(sampling=fields, default_max_tokens=16)).max_tokens == 3
    assert limits().resolve(prompt(sampling=fields)).max_tokens is None


def test_no_more_answers_than_run_at_once() -> None:
    assert limits(max_num_seqs=16).resolve(prompt(best_of=16)).n == 16
    with pytest.raises(InvalidRequestError, match="best_of is 17; this model runs at most 16"):
        limits(max_num_seqs=16).resolve(prompt(best_of=17))


@pytest.mark.parametrize(
    ("kept", "num_tokens"), [(None, 90), (1, 1), (89, 89), (90, 90), (91, 90), (-1, 90)]
)
def test_the_end_of_a_long_prompt_is_kept(kept: int | None, num_tokens: int) -> None:
    asked = prompt(truncate_prompt_tokens=kept)
    cut = limits().truncate(asked)
    assert cut.token_ids == asked.token_ids[90 - num_tokens :]
    assert cut.text == (None if num_tokens < 90 else "x"), "the text is not that of these tokens"


@pytest.mark.parametrize(
    ("fields", "num_tokens"),
    [
        ({}, 99),
        ({"sampling": {"max_tokens": 10}}, 90),
        ({"sampling": {"max_tokens": 0}}, 99),
        ({"sampling": {"max_tokens": 500}}, 1),
        ({"default_max_tokens": 16}, 84),
    ],
)
def test_as_much_of_a_prompt_as_there_is_room_for(fields: Any, num_tokens: int) -> None:
    asked = prompt(5000, truncate_prompt_tokens=-1, **fields)
    assert limits().truncate(asked).token_ids == asked.token_ids[5000 - num_tokens :]
    assert len(limits(max_num_prompt_tokens=50).truncate(asked).token_ids) == min(50, num_tokens)


@pytest.mark.parametrize(
    ("default", "asked", "expected"),
    [
        ({"num_assistant_tokens": 7}, {}, 7),
        ({"num_assistant_tokens": 7}, {"num_assistant_tokens": 3}, 3),
        ({"num_assistant_tokens": 7}, {"assistant_confidence_threshold": 0.4}, None),
        ({"assistant_confidence_threshold": 0.4}, {"num_assistant_tokens": 3}, 3),
        ({"assistant_confidence_threshold": 0.4}, {"num_assistant_tokens": 0}, 0),
    ],
)
def test_a_request_says_anew_how_many_tokens_are_proposed(
    default: Any, asked: Any, expected: int | None
) -> None:
    params = limits(defaults=SamplingFields(**default)).resolve(prompt(sampling=asked))
    assert params.max_draft_tokens == expected
