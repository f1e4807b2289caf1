"""LiteLLM through its provider for Anthropic's API."""

import litellm
from report import (
    MODEL,
    QUESTION,
    URL,
    WEATHER,
    WEATHER_QUESTION,
    WEATHER_SCHEMA,
    expect,
    report,
)

SETTINGS = {
    "model": f"anthropic/{MODEL}",
    "api_base": URL,
    "api_key": "unused",
    "temperature": 0,
    "num_retries": 0,
    "max_tokens": 60,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}


def ask(messages: list, **settings: object) -> object:
    return litellm.completion(messages=messages, **SETTINGS, **settings)


def chat() -> None:
    expect(ask([{"role": "user", "content": QUESTION}]).choices[0].message.content, "Paris")


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


report(chat, stream, tools)
