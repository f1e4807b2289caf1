"""Haystack's OpenAIChatGenerator."""

from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from haystack.utils import Secret
from pydantic import BaseModel
from report import (
    MODEL,
    OPENAI_URL,
    QUESTION,
    SCHEMA_QUESTION,
    WEATHER,
    WEATHER_QUESTION,
    expect,
    report,
)


class Country(BaseModel):
    country: str
    capital: str


@tool
def get_weather(city: str) -> str:
    """The weather in a city"""
    return WEATHER


def generator(**settings: object) -> OpenAIChatGenerator:
    return OpenAIChatGenerator(
        api_key=Secret.from_token("unused"), api_base_url=OPENAI_URL, model=MODEL, **settings
    )


GREEDY = {"temperature": 0}


def chat() -> None:
    made = generator(generation_kwargs=GREEDY).run([ChatMessage.from_user(QUESTION)])
    expect(made["replies"][0].text, "Paris")


def stream() -> None:
    chunks: list[str] = []
    made = generator(
        generation_kwargs=GREEDY, streaming_callback=lambda chunk: chunks.append(chunk.content)
    )
    made.run([ChatMessage.from_user(QUESTION)])
    expect("".join(chunks), "Paris")


def tools() -> None:
    asking = generator(generation_kwargs=GREEDY, tools=[get_weather])
    messages = [ChatMessage.from_user(WEATHER_QUESTION)]
    reply = asking.run(messages)["replies"][0]
    (call,) = reply.tool_calls
    expect(call.arguments, "Paris")
    messages += [reply, ChatMessage.from_tool(WEATHER, origin=call)]
    expect(asking.run(messages)["replies"][0].text, "21")


def schema() -> None:
    made = generator(generation_kwargs={**GREEDY, "response_format": Country})
    reply = made.run([ChatMessage.from_user(SCHEMA_QUESTION)])["replies"][0]
    expect(Country.model_validate_json(reply.text).capital, "Paris")


report(chat, stream, tools, schema)
