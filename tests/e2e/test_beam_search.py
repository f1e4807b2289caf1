"""Beam search over HTTP, by each of the fields that ask for it."""

import asyncio
import math
from itertools import count
from typing import Any

import aiohttp
import pytest
from openai import BadRequestError
from openai.types import CompletionChoice
from support.e2e_names import SMALL_TOKENS
from support.server_process import ServerProcess

PROMPT = "Once upon a time there was a fox"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
SALTS = count()


def complete(server: ServerProcess, prompt: str = PROMPT, **fields: Any) -> list[CompletionChoice]:
    # Each reads all of the prompt, so that the same request is rounded in the same way again.
    fields["cache_salt"] = str(next(SALTS))
    known = {
        name: fields.pop(name) for name in ("n", "best_of", "logprobs", "stop") & fields.keys()
    }
    answer = server.openai().completions.create(
        model="tiny_chat",
        prompt=prompt,
        max_tokens=12,
        temperature=0,
        extra_body=fields,
        **known,
    )
    return answer.choices


def test_the_answers_come_in_the_order_of_their_probability(server: ServerProcess) -> None:
    prompt = "Tell me a story about"  # the likeliest next word leads to less likely ones
    choices = complete(server, prompt, num_beams=5, n=4, logprobs=0)
    assert [choice.index for choice in choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in choices}) == 4
    scores = [
        math.fsum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)
        for choice in choices
    ]
    assert scores == sorted(scores, reverse=True)
    (greedy,) = complete(server, prompt, logprobs=0)
    assert math.fsum(choices[0].logprobs.token_logprobs) > math.fsum(greedy.logprobs.token_logprobs)


def test_every_field_asks_for_the_same(server: ServerProcess) -> None:
    expected = [choice.text for choice in complete(server, num_beams=4, n=4)]
    for fields in (
        {"best_of": 4, "n": 4},
        {"use_beam_search": True, "n": 4},
        {"use_beam_search": True, "n": 2, "best_of": 4},
        {"best_of": 4},
    ):
        found = [choice.text for choice in complete(server, **fields)]
        assert found == expected[: len(found)]


def test_a_length_penalty_makes_answers_longer(server: ServerProcess) -> None:
    def tokens(length_penalty: float) -> int:
        answer = server.openai().chat.completions.create(
            model="tiny_chat",
            messages=QUESTION,
            max_tokens=32,
            n=6,
            extra_body={"num_beams": 6, "length_penalty": length_penalty},
        )
        return answer.usage.completion_tokens

    assert tokens(-5.0) < tokens(5.0)


def test_early_stopping_ends_the_search_with_other_answers(server: ServerProcess) -> None:
    def texts(early_stopping: object) -> list[str]:
        answer = server.openai().chat.completions.create(
            model="tiny_chat",
            messages=QUESTION,
            max_tokens=32,
            n=4,
            extra_body={
                "num_beams": 4,
                "early_stopping": early_stopping,
                "length_penalty": 3.0,
            },
        )
        return [choice.message.content for choice in answer.choices]

    assert texts(True) != texts("never")


def test_a_chat_and_a_response_get_the_best_answer(server: ServerProcess) -> None:
    answer = server.openai().chat.completions.create(
        model="tiny_chat", messages=QUESTION, extra_body={"num_beams": 4}
    )
    (choice,) = answer.choices
    assert "Paris" in choice.message.content
    assert choice.finish_reason == "stop"
    response = server.openai().responses.create(
        model="tiny_chat", input=QUESTION, extra_body={"num_beams": 4}
    )
    assert response.output_text == choice.message.content


def test_a_stop_string_cuts_the_answers_that_were_found(server: ServerProcess) -> None:
    whole = complete(server, num_beams=3, n=3)
    cut = complete(server, num_beams=3, n=3, stop=" a")
    assert [choice.text for choice in cut] == [choice.text.partition(" a")[0] for choice in whole]
    assert [c.text for c in cut] != [c.text for c in whole]


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"num_beams": 20}, "num_beams", "less than 20 (best_of_limit)"),
        ({"best_of": 20, "temperature": 0}, "best_of", "less than 20 (best_of_limit)"),
        ({"num_beams": 4, "stream": True}, "stream", "not possible with a beam search"),
        ({"num_beams": 17, "model": "small"}, "num_beams", "at most 16 sequences"),
        ({"num_beams": 8, "model": "small", "max_tokens": 100}, "max_tokens", "each of 8 beams"),
    ],
)
def test_what_cannot_be_is_the_clients_error(
    server: ServerProcess, fields: dict[str, Any], param: str, problem: str
) -> None:
    body = {"model": "tiny_chat", "prompt": PROMPT, **fields}
    status, answer = server.post("/v3/completions", body)
    assert status == 400
    assert answer["error"]["param"] == param
    assert problem in answer["error"]["message"]


def check_that_every_block_is_free(server: ServerProcess) -> None:
    """Only then can one request have all blocks of the cache."""
    whole = {"model": "small", "prompt": [5] * 100, "max_tokens": SMALL_TOKENS - 100}
    status, answer = server.post("/v3/completions", {**whole, "ignore_eos": True})
    assert status == 200
    assert answer["usage"]["completion_tokens"] == SMALL_TOKENS - 100


async def test_many_searches_at_once_on_a_small_cache(server: ServerProcess) -> None:
    body = {"model": "small", "max_tokens": 40, "temperature": 0, "ignore_eos": True}
    prompts = [f"{number} foxes and a hen went to" for number in range(24)]
    async with aiohttp.ClientSession(server.url) as session:

        async def ask(prompt: str, **fields: Any) -> list[str]:
            sent = {**body, "prompt": prompt, **fields}
            async with session.post("/v3/completions", json=sent) as response:
                answer = await response.json()
                assert response.status == 200, answer
                return [choice["text"] for choice in answer["choices"]]

        searches = [ask(prompt, num_beams=4, n=2) for prompt in prompts]
        mates = [ask(prompt) for prompt in prompts]
        answers = await asyncio.gather(*searches, *mates)
    # With a u8 cache a batch is not computed to the last bit as its parts are, so that beams which
    # are almost equal may change places; the engine's tests compare the answers, in f32.
    assert [len(texts) for texts in answers] == [2] * len(searches) + [1] * len(mates)
    check_that_every_block_is_free(server)


async def test_a_client_that_leaves_in_a_search_gives_back_every_block(
    server: ServerProcess,
) -> None:
    body = {"model": "small", "prompt": PROMPT, "max_tokens": 100, "num_beams": 4}
    async with aiohttp.ClientSession(server.url) as session:
        waiting = [
            asyncio.create_task(session.post("/v3/completions", json={**body, "ignore_eos": True}))
            for _ in range(8)
        ]
        await asyncio.sleep(0.3)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    check_that_every_block_is_free(server)


def test_openai_clients_see_why(server: ServerProcess) -> None:
    with pytest.raises(BadRequestError, match="temperature is 0.7; in a beam search"):
        server.openai().completions.create(
            model="tiny_chat", prompt=PROMPT, temperature=0.7, extra_body={"num_beams": 2}
        )
