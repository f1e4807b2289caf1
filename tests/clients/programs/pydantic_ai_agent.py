"""PydanticAI's agents, through chat completions."""

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
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

model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=OPENAI_URL, api_key="unused"))
SETTINGS = {"temperature": 0}


class Country(BaseModel):
    country: str
    capital: str


def chat() -> None:
    expect(Agent(model, model_settings=SETTINGS).run_sync(QUESTION).output, "Paris")


def stream() -> None:
    async def read() -> str:
        async with Agent(model, model_settings=SETTINGS).run_stream(QUESTION) as result:
            return await result.get_output()

    expect(asyncio.run(read()), "Paris")


def tools() -> None:
    agent = Agent(model, model_settings=SETTINGS)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city"""
        return WEATHER

    expect(agent.run_sync(WEATHER_QUESTION).output, "21")


def schema() -> None:
    agent = Agent(model, output_type=NativeOutput(Country), model_settings=SETTINGS)
    expect(agent.run_sync(SCHEMA_QUESTION).output.capital, "Paris")


report(chat, stream, tools, schema)
