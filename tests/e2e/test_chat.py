"""OpenAI's client against a real server on a real export of the bundled model."""

import asyncio
import json
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError
from support.server_process import ServerProcess

MODELS = ["tiny_chat", "one_node", "small"]
CAPITALS = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Japan": "Tokyo"}


def question(country: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is the capital of {country}?"}]


@pytest.mark.parametrize("model", MODELS)
def test_an_answer(server: ServerProcess, model: str) -> None:
    answer = server.openai().chat.completions.create(
        model=model, messages=question("France"), temperature=0
    )
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == model
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("model", MODELS)
def test_a_streamed_answer_is_the_same(server: ServerProcess, model: str) -> None:
    client = server.openai("/v1")
    asked = {"model": model, "messages": question("Spain"), "temperature": 0}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert "Madrid" in text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    # The second time the prompt was cached, which the usage says.
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_an_answer_is_streamed_in_pieces(server: ServerProcess) -> None:
    """A long one: on a busy machine a slow reader finds several tokens in one piece."""
    chunks = server.openai().chat.completions.create(
        model="tiny_chat",
        messages=[{"role": "user", "content": "Tell me a story about a fox."}],
        temperature=0,
        stream=True,
    )
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 3


def test_a_conversation_goes_on(server: ServerProcess) -> None:
    messages = question("France")
    messages += [{"role": "assistant", "content": "The capital of France is Paris."}]
    messages += [{"role": "user", "content": "And of Italy?"}]
    answer = server.openai().chat.completions.create(
        model="tiny_chat", messages=messages, temperature=0
    )
    assert "Rome" in answer.choices[0].message.content


def test_completions_of_several_prompts(server: ServerProcess) -> None:
    answer = server.openai().completions.create(
        model="tiny_chat", prompt=["One two", "Hello"], max_tokens=4, n=2, echo=True
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    starts = ["One two", "One two", "Hello", "Hello"]
    for choice, start in zip(answer.choices, starts, strict=True):
        assert choice.text.startswith(start)
    assert answer.object == "text_completion"


def test_a_seed_decides(server: ServerProcess) -> None:
    def tell(seed: int) -> str:
        answer = server.openai().completions.create(
            model="tiny_chat", prompt="Once", max_tokens=24, seed=seed, temperature=1.5
        )
        return answer.choices[0].text

    assert tell(7) == tell(7)
    assert len({tell(seed) for seed in range(5)}) > 1


def test_logprobs_of_every_token(server: ServerProcess) -> None:
    answer = server.openai().chat.completions.create(
        model="tiny_chat",
        messages=question("Japan"),
        temperature=0,
        logprobs=True,
        top_logprobs=3,
    )
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens).startswith("The capital of Japan")
    for token in tokens:
        best = token.top_logprobs[0]
        assert best.token == token.token
        assert token.logprob == best.logprob <= 0
        assert len(token.top_logprobs) == 3


def test_a_stop_string_ends_one_choice_or_all(server: ServerProcess) -> None:
    answer = server.openai().chat.completions.create(
        model="tiny_chat", messages=question("France"), temperature=0, stop=" of", n=2
    )
    assert [c.message.content for c in answer.choices] == ["The capital"] * 2
    assert {c.finish_reason for c in answer.choices} == {"stop"}


def test_models_are_listed(server: ServerProcess) -> None:
    client = server.openai()
    assert sorted(model.id for model in client.models.list()) == sorted(MODELS)
    assert client.models.retrieve("small").object == "model"
    with pytest.raises(NotFoundError, match="tiny_chats"):
        client.models.retrieve("tiny_chats")


def test_the_state_of_every_model(server: ServerProcess) -> None:
    status, body = server.get("/v1/config")
    assert status == 200
    assert body.keys() == set(MODELS)
    for model in body.values():
        (version,) = model["model_version_status"]
        nodes = version.pop("nodes")
        assert version == {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": "OK"},
        }
        # This server was started with --no_auto_tune.
        (executor,) = [node for node in nodes.values() if "device" in node]
        assert (executor["device"], executor["auto_tuned"]) == ("CPU", {})
        assert isinstance(executor["kernels"]["is_amx_used"], bool)


async def test_64_streams_at_once(server: ServerProcess) -> None:
    async def tell(number: int) -> str:
        country = list(CAPITALS)[number % len(CAPITALS)]
        stream = await client.chat.completions.create(
            model="tiny_chat", messages=question(country), temperature=0, stream=True
        )
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert CAPITALS[country] in "".join(parts)
        return "".join(parts)

    async with server.async_openai() as client:
        answers = await asyncio.gather(*[tell(number) for number in range(64)])
    assert len(answers) == 64


async def test_100_requests_at_once_on_a_small_cache(server: ServerProcess) -> None:
    async def ask(number: int) -> None:
        country = list(CAPITALS)[number % len(CAPITALS)]
        answer = await client.chat.completions.create(
            model="small", messages=question(country), temperature=0
        )
        assert CAPITALS[country] in answer.choices[0].message.content

    async with server.async_openai() as client:
        await asyncio.gather(*[ask(number) for number in range(100)])


def test_what_never_fits_is_refused_with_both_lengths(server: ServerProcess) -> None:
    with pytest.raises(BadRequestError) as error:
        server.openai().completions.create(model="small", prompt=[5] * 700, max_tokens=1)
    assert "700" in error.value.message
    assert "641" in error.value.message
    with pytest.raises(BadRequestError, match="4000"):
        server.openai().completions.create(model="tiny_chat", prompt="Hi", max_tokens=4000)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"model": NaN}', b'{"model": "tiny_chat"}', b"[" * 5000],
)
def test_a_bad_body_is_the_clients_error(server: ServerProcess, body: bytes) -> None:
    status, answer = server.post("/v3/chat/completions", body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]


def test_any_text_goes_in_and_out(server: ServerProcess) -> None:
    text = "né 漢字 🦊 \u0000 <|im_end|> {{ 7 * 7 }}"
    answer = server.openai().completions.create(
        model="tiny_chat", prompt=text, max_tokens=2, echo=True
    )
    assert answer.choices[0].text.startswith(text)
    json.dumps(answer.model_dump(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "a " * 5000}]}, "messages"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 9000},
            "max_completion_tokens",
        ),
        ("completions", {"prompt": "a " * 5000}, "prompt"),
        ("responses", {"input": "a " * 5000}, "input"),
        ("responses", {"input": "a", "max_output_tokens": 9000}, "max_output_tokens"),
        (
            "responses",
            {"input": "a", "max_output_tokens": 5, "min_tokens": 9},
            "min_tokens",
        ),
    ],
)
def test_an_error_names_the_field_of_its_endpoint(
    server: ServerProcess, path: str, fields: dict[str, Any], param: str
) -> None:
    status, answer = server.post(f"/v3/{path}", {"model": "tiny_chat", **fields})
    assert (status, answer["error"]["param"]) == (400, param)
    if param.startswith("max_"):
        assert f"{param} is 9000" in answer["error"]["message"]
