"""LangChain's ChatOpenAI."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
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

model = ChatOpenAI(
    base_url=OPENAI_URL, api_key="unused", model=MODEL, temperature=0, stream_usage=True
)


class Country(BaseModel):
    """A country."""

    country: str
    capital: str


@tool
def get_weather(city: str) -> str:
    """The weather in a city"""
    return WEATHER


def chat() -> None:
    expect(model.invoke(QUESTION).content, "Paris")


def stream() -> None:
    expect("".join(chunk.content for chunk in model.stream(QUESTION)), "Paris")


def tools() -> None:
    bound = model.bind_tools([get_weather])
    messages = [HumanMessage(WEATHER_QUESTION)]
    answer = bound.invoke(messages)
    (call,) = answer.tool_calls
    expect(call["args"], "Paris")
    messages += [answer, ToolMessage(WEATHER, tool_call_id=call["id"])]
    expect(bound.invoke(messages).content, "21")


def schema() -> None:
    expect(model.with_structured_output(Country).invoke(SCHEMA_QUESTION).capital, "Paris")


report(chat, stream, tools, schema)
