"""OpenAI's client for responses against a real server on a real export of the bundled model."""

import asyncio
import json
from typing import Annotated

from pydantic import BaseModel, Field
from support.server_process import ServerProcess

QUESTION = "What is the capital of France?"


def test_a_response(server: ServerProcess) -> None:
    response = server.openai().responses.create(model="tiny_chat", input=QUESTION, temperature=0)
    assert "Paris" in response.output_text
    assert response.status == "completed"
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_it_is_what_a_chat_completion_says(server: ServerProcess) -> None:
    client = server.openai("/v1")
    instructions = "Answer in one sentence."
    messages = [
        {"role": "system", "content": instructions},
        {"role": "user", "content": QUESTION},
    ]
    chat = client.chat.completions.create(model="one_node", messages=messages, temperature=0)
    response = client.responses.create(
        model="one_node", instructions=instructions, input=QUESTION, temperature=0
    )
    assert response.output_text == chat.choices[0].message.content
    assert response.usage.input_tokens == chat.usage.prompt_tokens


def test_a_streamed_response(server: ServerProcess) -> None:
    client = server.openai()
    stream = client.responses.create(model="tiny_chat", input=QUESTION, temperature=0, stream=True)
    events = list(stream)
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert "Paris" in text
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == text
    with client.responses.stream(model="tiny_chat", input=QUESTION, temperature=0) as helper:
        helper.until_done()
        assert helper.get_final_response().output_text == text


def test_a_response_that_is_cut_off(server: ServerProcess) -> None:
    response = server.openai().responses.create(
        model="tiny_chat", input=QUESTION, max_output_tokens=2
    )
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == 2


def test_a_conversation_goes_on(server: ServerProcess) -> None:
    client = server.openai()
    first = client.responses.create(model="tiny_chat", input=QUESTION, temperature=0)
    items = [
        {"role": "user", "content": QUESTION},
        *first.output,
        {"role": "user", "content": [{"type": "input_text", "text": "And of Italy?"}]},
    ]
    second = client.responses.create(model="tiny_chat", input=items, temperature=0)
    assert "Rome" in second.output_text


class City(BaseModel):
    """What a client may want to know."""

    name: Annotated[str, Field(max_length=20)]
    is_capital: bool


def test_a_parsed_response(server: ServerProcess) -> None:
    client = server.openai()
    response = client.responses.parse(model="tiny_chat", input=QUESTION, text_format=City)
    assert isinstance(response.output_parsed, City)
    with client.responses.stream(model="tiny_chat", input=QUESTION, text_format=City) as stream:
        assert isinstance(stream.get_final_response().output_parsed, City)


TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def test_a_tool_is_called_and_its_result_is_used(server: ServerProcess) -> None:
    client = server.openai()
    asked = {"model": "one_node", "tools": [TOOL], "temperature": 0}
    items = [{"role": "user", "content": "What is the weather in Paris?"}]
    (call,) = client.responses.create(**asked, input=items).output
    assert (call.type, call.name) == ("function_call", "get_weather")
    assert json.loads(call.arguments) == {"city": "Paris"}
    with client.responses.stream(**asked, input=items) as stream:
        (streamed,) = stream.get_final_response().output
    assert streamed.arguments == call.arguments
    items += [
        call,
        {"type": "function_call_output", "call_id": call.call_id, "output": "17 degrees"},
    ]
    assert "17" in client.responses.create(**asked, input=items).output_text


def test_a_tool_that_has_to_be_called(server: ServerProcess) -> None:
    response = server.openai().responses.create(
        model="one_node",
        input="Who are you?",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "get_weather"},
        max_output_tokens=200,
    )
    (call,) = response.output
    assert (call.type, call.name) == ("function_call", "get_weather")


async def test_many_at_once(server: ServerProcess) -> None:
    async with server.async_openai() as client:
        asked = [
            client.responses.create(model="tiny_chat", input=QUESTION, temperature=0)
            for _ in range(16)
        ]
        answers = await asyncio.gather(*asked)
    assert len({answer.id for answer in answers}) == 16
    assert all("Paris" in answer.output_text for answer in answers)
