"""Anthropic's client."""

import json

import anthropic
from report import (
    COUNTRY_SCHEMA,
    MODEL,
    QUESTION,
    SCHEMA_QUESTION,
    URL,
    WEATHER,
    WEATHER_QUESTION,
    WEATHER_SCHEMA,
    expect,
    report,
)

client = anthropic.Anthropic(base_url=URL, api_key="unused", max_retries=0)
CACHED = {"type": "ephemeral"}
HINTS = {
    "model": MODEL,
    "max_tokens": 60,
    "extra_body": {"temperature": 0},
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
    "thinking": {"type": "adaptive"},
    "system": [{"type": "text", "text": "Be brief.", "cache_control": CACHED}],
}
TOOL = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": WEATHER_SCHEMA,
    "cache_control": CACHED,
}


def chat() -> None:
    content = [{"type": "text", "text": QUESTION, "cache_control": CACHED}]
    message = client.messages.create(messages=[{"role": "user", "content": content}], **HINTS)
    expect(message.content[0].text, "Paris")


def stream() -> None:
    with client.messages.stream(messages=[{"role": "user", "content": QUESTION}], **HINTS) as s:
        expect("".join(s.text_stream), "Paris")


def tools() -> None:
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    settings = {**HINTS, "tools": [TOOL], "tool_choice": {"type": "auto"}}
    with client.messages.stream(messages=messages, **settings) as s:
        content = s.get_final_message().content
    (call,) = [block for block in content if block.type == "tool_use"]
    expect(call.input, "Paris")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": WEATHER}
    messages += [
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    expect(client.messages.create(messages=messages, **settings).content[0].text, "21")


def schema() -> None:
    settings = {
        **HINTS,
        "output_config": {"format": {"type": "json_schema", "schema": COUNTRY_SCHEMA}},
    }
    message = client.messages.create(
        messages=[{"role": "user", "content": SCHEMA_QUESTION}], **settings
    )
    expect(json.loads(message.content[0].text)["capital"], "Paris")


report(chat, stream, tools, schema)
