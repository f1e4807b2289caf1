"""OpenAI's client, chat completions, with the hints that programs send along."""

from openai import OpenAI
from pydantic import BaseModel
from report import (
    MODEL,
    OPENAI_URL,
    QUESTION,
    SCHEMA_QUESTION,
    WEATHER,
    WEATHER_QUESTION,
    WEATHER_SCHEMA,
    expect,
    report,
)

client = OpenAI(base_url=OPENAI_URL, api_key="unused", max_retries=0)
HINTS = {
    "model": MODEL,
    "temperature": 0,
    "store": True,
    "metadata": {"job": "1"},
    "user": "u",
    "service_tier": "auto",
    "verbosity": "low",
    "prompt_cache_key": "k",
    "safety_identifier": "s",
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": WEATHER_SCHEMA,
    },
}


class Country(BaseModel):
    country: str
    capital: str


def chat() -> None:
    messages = [
        {"role": "developer", "content": "Answer in one sentence."},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ]
    answer = client.chat.completions.create(messages=messages, **HINTS)
    expect(answer.choices[0].message.content, "Paris")


def stream() -> None:
    messages = [{"role": "user", "content": QUESTION}]
    with client.chat.completions.stream(
        messages=messages, stream_options={"include_usage": True}, **HINTS
    ) as events:
        expect(events.get_final_completion().choices[0].message.content, "Paris")


def tools() -> None:
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    settings = {**HINTS, "tools": [TOOL], "parallel_tool_calls": True, "tool_choice": "auto"}
    message = client.chat.completions.create(messages=messages, **settings).choices[0].message
    (call,) = message.tool_calls
    expect(call.function.arguments, "Paris")
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": WEATHER}]
    answer = client.chat.completions.create(messages=messages, **settings)
    expect(answer.choices[0].message.content, "21")


def schema() -> None:
    messages = [{"role": "user", "content": SCHEMA_QUESTION}]
    answer = client.chat.completions.parse(messages=messages, response_format=Country, **HINTS)
    expect(answer.choices[0].message.parsed.capital, "Paris")


report(chat, stream, tools, schema)
