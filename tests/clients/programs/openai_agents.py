"""OpenAI's Agents SDK, through responses, which it uses unless told otherwise."""

import asyncio

from agents import (
    Agent,
    ModelSettings,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
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

set_tracing_disabled(True)


class Country(BaseModel):
    country: str
    capital: str


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city"""
    return WEATHER


def agent(**settings: object) -> Agent:
    client = AsyncOpenAI(base_url=OPENAI_URL, api_key="unused", max_retries=0)
    model = OpenAIResponsesModel(model=MODEL, openai_client=client)
    return Agent(name="a", model=model, model_settings=ModelSettings(temperature=0), **settings)


def chat() -> None:
    expect(asyncio.run(Runner.run(agent(), QUESTION)).final_output, "Paris")


def stream() -> None:
    async def read() -> object:
        result = Runner.run_streamed(agent(), QUESTION)
        async for _ in result.stream_events():
            pass
        return result.final_output

    expect(asyncio.run(read()), "Paris")


def tools() -> None:
    expect(asyncio.run(Runner.run(agent(tools=[get_weather]), WEATHER_QUESTION)).final_output, "21")


def schema() -> None:
    answer = asyncio.run(Runner.run(agent(output_type=Country), SCHEMA_QUESTION)).final_output
    expect(answer.capital, "Paris")


report(chat, stream, tools, schema)
