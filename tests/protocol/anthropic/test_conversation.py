"""Anthropic's messages and tools as those of a chat completion."""

import json
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.protocol.anthropic.conversation import chat_messages, chat_tool_choice, chat_tools

HI = {"role": "user", "content": "hi"}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value, "cache_control": {"type": "ephemeral"}}


def test_system_comes_first() -> None:
    assert chat_messages("Be brief.", [HI]) == [{"role": "system", "content": "Be brief."}, HI]
    blocks = [text("x-anthropic-billing-header: cc_version=2; cch=0a1b2;"), text("a"), text("b")]
    assert chat_messages(blocks, [HI])[0] == {"role": "system", "content": "a\nb"}


@pytest.mark.parametrize("system", [None, "", [], [text("")]])
def test_an_empty_system_prompt_is_none(system: Any) -> None:
    assert chat_messages(system, [HI]) == [HI]


def test_a_turn_of_the_model() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        text("Let me see."),
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"where": "Köln"}},
        {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
    ]
    (message,) = chat_messages(None, [{"role": "assistant", "content": blocks}])
    assert message["content"] == "Let me see."
    assert message["reasoning_content"] == "Hm."
    calls = [(c["id"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]]
    assert calls == [("t1", {"where": "Köln"}), ("t2", {})]


def test_only_tool_calls_have_no_content() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    (message,) = chat_messages(None, [{"role": "assistant", "content": [call]}])
    assert message["content"] is None


def test_results_of_tools_are_messages_of_their_own() -> None:
    blocks = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "21"},
        {"type": "tool_result", "tool_use_id": "t2", "content": [text("a"), text("b")]},
        {"type": "tool_result", "tool_use_id": "t3", "is_error": True},
        text("And now?"),
    ]
    assert chat_messages(None, [{"role": "user", "content": blocks}]) == [
        {"role": "tool", "tool_call_id": "t1", "content": "21"},
        {"role": "tool", "tool_call_id": "t2", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {"role": "user", "content": "And now?"},
    ]


def test_documents_are_text() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "body"}
    made = {"type": "content", "content": [text("one"), text("two")]}
    blocks = [
        {"type": "document", "title": "T", "context": "C", "source": plain},
        {"type": "document", "source": made},
        {"type": "search_result", "title": "S", "source": "u", "content": [text("found")]},
    ]
    (message,) = chat_messages(None, [{"role": "user", "content": blocks}])
    assert message["content"] == "T\nC\nbody\none\ntwo\nS\nfound"


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}


@pytest.mark.parametrize(
    ("role", "content", "problem"),
    [
        ("user", [IMAGE], "messages[0].content[0].type 'image' is not supported"),
        ("user", [PDF], "messages[0].content[0].source.type must be 'text' or 'content'"),
        (
            "user",
            [{"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}],
            "messages[0].content[0].content[0].type 'image' is not supported",
        ),
        ("user", [{"type": "tool_result"}], "messages[0].content[0].tool_use_id must be a string"),
        ("assistant", [IMAGE], "messages[0].content[0].type 'image' is not supported"),
        (
            "assistant",
            [{"type": "tool_use", "id": "t", "name": "n", "input": "{}"}],
            "messages[0].content[0].input must be an object",
        ),
        ("user", [{}], "messages[0].content[0].type must be a string"),
        ("user", ["x"], "messages[0].content[0] must be an object"),
        ("user", None, "messages[0].content must be a string or a list of blocks"),
        ("user", 3, "messages[0].content must be a string or a list of blocks"),
        ("tool", "x", "messages[0].role must be one of user, assistant, system"),
        ([], "x", "messages[0].role must be one of user, assistant, system"),
    ],
)
def test_what_is_refused(role: Any, content: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        chat_messages(None, [{"role": role, "content": content}])
    assert problem in str(error.value)
    assert error.value.param == "messages"


def test_tools() -> None:
    schema = {"type": "object", "properties": {}}
    tool = {"name": "look", "description": "d", "input_schema": schema, "cache_control": {}}
    assert chat_tools([tool, {"type": "custom", "name": "n", "input_schema": schema}]) == [
        {
            "type": "function",
            "function": {"name": "look", "parameters": schema, "description": "d"},
        },
        {"type": "function", "function": {"name": "n", "parameters": schema}},
    ]


@pytest.mark.parametrize(
    ("tool", "problem"),
    [
        ({"type": "web_search_20250305", "name": "web_search"}, "tools[0].type 'web_search_2025"),
        ({"name": "look"}, "tools[0].input_schema must be an object"),
        ({"input_schema": {}}, "tools[0].name must be a string"),
        ("look", "tools[0] must be an object"),
    ],
)
def test_bad_tools(tool: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        chat_tools([tool])
    assert problem in str(error.value)
    assert error.value.param == "tools"


@pytest.mark.parametrize(
    ("choice", "fields"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            {"tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"type": "tool", "name": "look"},
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
    ],
)
def test_tool_choice(choice: dict[str, Any], fields: dict[str, Any]) -> None:
    assert chat_tool_choice(choice) == fields


@pytest.mark.parametrize("choice", [{}, {"type": "some"}, {"type": []}, {"type": "tool"}])
def test_bad_tool_choice(choice: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"tool_choice\."):
        chat_tool_choice(choice)
