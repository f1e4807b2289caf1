"""smolagents' OpenAIServerModel."""

from report import MODEL, OPENAI_URL, QUESTION, WEATHER, WEATHER_QUESTION, expect, report
from smolagents import OpenAIServerModel, tool
from smolagents.models import ChatMessage, MessageRole

model = OpenAIServerModel(MODEL, api_base=OPENAI_URL, api_key="unused", temperature=0)


@tool
def get_weather(city: str) -> str:
    """The weather in a city

    Args:
        city: The city
    """
    return WEATHER


def message(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": text}])]


def chat() -> None:
    expect(model.generate(message(QUESTION)).content, "Paris")


def stream() -> None:
    chunks = model.generate_stream(message(QUESTION))
    expect("".join(chunk.content or "" for chunk in chunks), "Paris")


def tools() -> None:
    made = model.generate(message(WEATHER_QUESTION), tools_to_call_from=[get_weather])
    (call,) = made.tool_calls
    expect(call.function.arguments, "Paris")


report(chat, stream, tools)
