"""LiteLLM through its provider for OpenAI's API."""

import json

import litellm
from report import (
    COUNTRY_SCHEMA,
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

SETTINGS = {
    "model": f"openai/{MODEL}",
    "api_base": OPENAI_URL,
    "api_key": "unused",
    "temperature": 0,
    "num_retries": 0,
    "reasoning_effort": "low",
    "allowed_openai_params": ["reasoning_effort"],
    "user": "u",
}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA},
}


def ask(messages: list, **settings: object) -> object:
    return litellm.completion(messages=messages, **SETTINGS, **settings)


def chat() -> None:
    answer = ask([{"role": "user", "content": QUESTION}])
    expect(answer.choices[0].message.content, "Paris")


def stream() -> None:
    chunks = ask([{"role": "user", "content": QUESTION}], stream=True)
    expect("".join(chunk.choices[0].delta.content or "" for chunk in chunks), "Paris")


def tools() -> None:
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    message = ask(messages, tools=[TOOL]).choices[0].message
    (call,) = message.tool_calls
    expect(call.function.arguments, "Paris")
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": WEATHER}]
    expect(ask(messages, tools=[TOOL]).choices[0].message.content, "21")


def schema() -> None:
    schema = {"name": "country", "schema": COUNTRY_SCHEMA, "strict": True}
    answer = ask(
        [{"role": "user", "content": SCHEMA_QUESTION}],
        response_format={"type": "json_schema", "json_schema": schema},
    )
    expect(json.loads(answer.choices[0].message.content)["capital"], "Paris")


report(chat, stream, tools, schema)
