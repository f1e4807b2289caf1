"""OpenAI's client, responses, with the hints that programs send along."""

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
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
    "service_tier": "auto",
    "prompt_cache_key": "k",
    "metadata": {"job": "1"},
}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": WEATHER_SCHEMA,
    "strict": False,
}


class Country(BaseModel):
    country: str
    capital: str


def chat() -> None:
    items = [
        {"role": "developer", "content": "Answer in one sentence."},
        {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
    ]
    expect(client.responses.create(input=items, **HINTS).output_text, "Paris")


def stream() -> None:
    with client.responses.stream(input=QUESTION, **HINTS) as events:
        events.until_done()
        expect(events.get_final_response().output_text, "Paris")


def tools() -> None:
    items = [{"role": "user", "content": WEATHER_QUESTION}]
    settings = {**HINTS, "tools": [TOOL], "max_tool_calls": 8}
    output = client.responses.create(input=items, **settings).output
    (call,) = [item for item in output if item.type == "function_call"]
    expect(call.arguments, "Paris")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}
    expect(client.responses.create(input=[*items, *output, result], **settings).output_text, "21")


def schema() -> None:
    answer = client.responses.parse(input=SCHEMA_QUESTION, text_format=Country, **HINTS)
    expect(answer.output_parsed.capital, "Paris")


report(chat, stream, tools, schema)
