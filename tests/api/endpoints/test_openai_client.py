"""The real openai client."""

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from support.serving import Server

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello big world"}]


@pytest.mark.parametrize("prefix", ["/v3", "/v1", "/v3/v1"])
async def test_models(server: Server, prefix: str) -> None:
    async with server.openai(prefix) as client:
        names = [model.id async for model in client.models.list()]
        assert "org/describe" in names
        assert (await client.models.retrieve("org/describe")).id == "org/describe"


async def test_chat(server: Server) -> None:
    async with server.openai() as client:
        answer = await client.chat.completions.create(
            model="echo", messages=HELLO, n=2, max_tokens=2, logprobs=True, top_logprobs=1
        )
    first, second = answer.choices
    assert first.message.content == second.message.content == "hello big"
    assert first.finish_reason == "length"
    assert first.logprobs is not None
    assert first.logprobs.content is not None
    assert [token.token for token in first.logprobs.content] == ["hello", " big"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 1


async def test_chat_stream(server: Server) -> None:
    async with server.openai() as client:
        stream = await client.chat.completions.create(
            model="echo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    *texts, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in texts) == "hello big world"
    assert texts[0].choices[0].delta.role == "assistant"
    assert texts[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 6


async def test_chat_stream_helper(server: Server) -> None:
    async with (
        server.openai() as client,
        client.chat.completions.stream(model="echo", messages=HELLO) as stream,
    ):
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "hello big world"


async def test_completion(server: Server) -> None:
    async with server.openai() as client:
        answer = await client.completions.create(model="echo", prompt=["a b", "c"], logprobs=1)
    assert [choice.text for choice in answer.choices] == ["a b", "c"]
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.text_offset == [0, 1]


async def test_errors(server: Server) -> None:
    async with server.openai() as client:
        with pytest.raises(openai.BadRequestError, match="temperature must be at most 2.0") as bad:
            await client.chat.completions.create(model="echo", messages=HELLO, temperature=3)
        assert bad.value.param == "temperature"
        with pytest.raises(openai.NotFoundError, match="there is no model"):
            await client.chat.completions.create(model="ecko", messages=HELLO)
        with pytest.raises(openai.InternalServerError, match="no weights"):
            await client.chat.completions.create(model="broken", messages=HELLO)


async def test_error_in_mid_stream(server: Server) -> None:
    async with server.openai() as client:
        stream = await client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "hello !generation"}], stream=True
        )
        with pytest.raises(openai.APIError, match="because of !generation"):
            _ = [chunk async for chunk in stream]
