"""Anthropic's client against a real server on a real export of the bundled model."""

from typing import Any

import anthropic
import pytest
from support.server_process import ServerProcess

QUESTION = "What is the capital of France?"
GREEDY = {"extra_body": {"temperature": 0}}
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.fixture
def client(server: ServerProcess) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0)


def ask(client: anthropic.Anthropic, content: Any = QUESTION, **fields: Any) -> Any:
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    settings = {"model": "tiny_chat", "max_tokens": 60, **GREEDY, **fields}
    return client.messages.create(messages=messages, **settings)


def test_a_message(client: anthropic.Anthropic) -> None:
    message = ask(client, system="Answer in one sentence.")
    assert "Paris" in message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message._request_id


def test_it_is_what_a_chat_completion_says(
    client: anthropic.Anthropic, server: ServerProcess
) -> None:
    message = ask(client)
    chat = server.openai().chat.completions.create(
        model="tiny_chat", messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    assert message.content[0].text == chat.choices[0].message.content
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == chat.usage.prompt_tokens
    assert usage.output_tokens == chat.usage.completion_tokens


def test_a_stream(client: anthropic.Anthropic) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    with client.messages.stream(
        model="tiny_chat", max_tokens=60, messages=messages, **GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == ask(client).content[0].text


def test_tools_and_their_results(client: anthropic.Anthropic) -> None:
    question = {"role": "user", "content": "What is the weather in Paris?"}
    first = ask(client, [question], tools=[WEATHER])
    (call,) = first.content
    assert (first.stop_reason, call.name, call.input) == (
        "tool_use",
        "get_weather",
        {"city": "Paris"},
    )
    with client.messages.stream(
        model="tiny_chat", max_tokens=60, messages=[question], tools=[WEATHER], **GREEDY
    ) as stream:
        assert stream.get_final_message().content[0].input == call.input
    result = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": '{"temperature": 21, "condition": "sunny"}',
    }
    history = [
        question,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    answer = ask(client, history, tools=[WEATHER])
    assert "21" in answer.content[0].text
    count = client.messages.count_tokens(model="tiny_chat", messages=history, tools=[WEATHER])
    usage = answer.usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_a_stop_sequence(client: anthropic.Anthropic) -> None:
    message = ask(client, stop_sequences=["Paris"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "Paris")


def test_more_tokens_than_the_model_has(client: anthropic.Anthropic) -> None:
    """The field is required: clients send what other models can do."""
    assert ask(client, max_tokens=8_000).stop_reason == "end_turn"


def test_the_beginning_of_an_answer(client: anthropic.Anthropic) -> None:
    history = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "The capital of"},
    ]
    assert ask(client, history).content[0].text == " France is Paris."
    count = client.messages.count_tokens(model="tiny_chat", messages=history)
    usage = ask(client, history).usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_errors_are_anthropics(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, model="nope")
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="'image' is not supported"):
        ask(client, [{"role": "user", "content": [{"type": "image", "source": {}}]}])
