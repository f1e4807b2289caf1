"""Chats whose answers show typical activations: questions, longer chats, calls of tools."""

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["SEED_PROMPTS", "render_seeds"]

# Typical questions: their answers show typical activations.
SEED_PROMPTS = (
    "What is the capital of France?",
    "Tell me a story about a fox.",
    "How are you today?",
    "What is 12 plus 7? Explain each step.",
    "Write a short letter to a friend about the summer.",
    "List five animals and say what they eat.",
    "What can you do for me?",
    "Explain why the sky is blue to a child.",
    "Write a Python function that reverses a list.",
    "Summarise how a bill becomes a law.",
    "Translate to German: The train leaves at noon.",
    "Give me a recipe for a soup, with the amounts.",
    "Who wrote Hamlet, and when?",
    "Answer in JSON: a person's name, age and city.",
    "Was ist der Unterschied zwischen Wetter und Klima?",
    "Compare two ways of heating a house in a table.",
)
# Turns before a question: long chats and tool calls have other activations.
EXCHANGES = (
    ("My name is Anna.", "Nice to meet you, Anna. What can I do for you?"),
    ("What is 8 times 9?", "8 times 9 is 72."),
    ("Count from 1 to 10.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."),
    ("Name three colours.", "Red, green and blue."),
)
TOOL_PROMPTS = (
    "What is the weather in Paris?",
    "Add dinner with Tom to my calendar, Friday at 19:00.",
    "Is it warmer in Rome or in Oslo today?",
    "Thank you, that is all.",
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add_event",
            "description": "Put an event into the calendar.",
            "parameters": {
                "type": "object",
                "properties": {"title": {"type": "string"}, "time": {"type": "string"}},
                "required": ["title", "time"],
            },
        },
    },
]
TOOL_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "type": "function",
            "id": "call00001",
            "function": {"name": "get_weather", "arguments": {"city": "Paris"}},
        }
    ],
}
TOOL_ANSWER = {
    "role": "tool",
    "tool_call_id": "call00001",
    "name": "get_weather",
    "content": '{"temperature": 18, "sky": "clear"}',
}


def render_seeds(tokenizer: Any) -> tuple[list[str], bool]:
    """The seeds as chats if the model's template supports them, else the plain questions."""
    texts = []
    for chat, tools in seed_chats():
        # There is no template, or it does not support tools.
        with contextlib.suppress(Exception):
            text = tokenizer.apply_chat_template(
                chat, tools=tools, add_generation_prompt=True, tokenize=False
            )
            texts.append(text)
    # A template that ignores the tools gives the same text twice.
    return (list(dict.fromkeys(texts)), True) if texts else (list(SEED_PROMPTS), False)


def seed_chats() -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]]:
    """The messages and the tools of each chat."""
    for prompt in SEED_PROMPTS:
        yield [_message("user", prompt)], None
    for prompt in TOOL_PROMPTS:
        yield [_message("user", prompt)], TOOLS
    before: list[dict[str, Any]] = []
    for (question, answer), prompt in zip(EXCHANGES, SEED_PROMPTS, strict=False):
        before = [*before, _message("user", question), _message("assistant", answer)]
        yield [*before, _message("user", prompt)], None
        yield [*before, _message("user", prompt)], TOOLS
    yield [_message("user", TOOL_PROMPTS[0]), TOOL_CALL, TOOL_ANSWER], TOOLS


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
