"""AutoGen's OpenAIChatCompletionClient."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelInfo, UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
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

INFO = ModelInfo(
    vision=False, function_calling=True, json_output=True, structured_output=True, family="unknown"
)


class Country(BaseModel):
    country: str
    capital: str


async def get_weather(city: str) -> str:
    """The weather in a city"""
    return WEATHER


def client(**settings: object) -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(
        model=MODEL,
        base_url=OPENAI_URL,
        api_key="unused",
        model_info=INFO,
        temperature=0,
        max_retries=0,
        **settings,
    )


def chat() -> None:
    made = asyncio.run(client().create([UserMessage(content=QUESTION, source="user")]))
    expect(made.content, "Paris")


def stream() -> None:
    async def read() -> list[object]:
        question = [UserMessage(content=QUESTION, source="user")]
        return [piece async for piece in client().create_stream(question)]

    expect(asyncio.run(read())[-1].content, "Paris")


def tools() -> None:
    agent = AssistantAgent(
        "a",
        client(),
        tools=[get_weather],
        reflect_on_tool_use=True,
        system_message=None,
    )
    result = asyncio.run(agent.run(task=WEATHER_QUESTION))
    expect(result.messages[-1].content, "21")


def schema() -> None:
    made = asyncio.run(
        client(response_format=Country).create([UserMessage(content=SCHEMA_QUESTION, source="u")])
    )
    expect(Country.model_validate_json(made.content).capital, "Paris")


report(chat, stream, tools, schema)
