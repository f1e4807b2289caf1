"""LlamaIndex's OpenAILike."""

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
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

model = OpenAILike(
    model=MODEL,
    api_base=OPENAI_URL,
    api_key="unused",
    is_chat_model=True,
    is_function_calling_model=True,
    should_use_structured_outputs=True,
    temperature=0,
    max_retries=0,
)


class Country(BaseModel):
    """A country."""

    country: str
    capital: str


def get_weather(city: str) -> str:
    """The weather in a city"""
    return WEATHER


def chat() -> None:
    expect(model.chat([ChatMessage(role="user", content=QUESTION)]), "Paris")


def stream() -> None:
    chunks = model.stream_chat([ChatMessage(role="user", content=QUESTION)])
    expect("".join(chunk.delta or "" for chunk in chunks), "Paris")


def tools() -> None:
    tool = FunctionTool.from_defaults(get_weather)
    answer = model.chat_with_tools([tool], user_msg=WEATHER_QUESTION)
    (call,) = model.get_tool_calls_from_response(answer)
    expect(call.tool_kwargs, "Paris")


def schema() -> None:
    expect(model.as_structured_llm(Country).complete(SCHEMA_QUESTION).raw.capital, "Paris")


report(chat, stream, tools, schema)
