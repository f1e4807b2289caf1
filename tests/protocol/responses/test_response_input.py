"""Items of a response's input -> messages."""

from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.protocol.responses.response_input import parse_input

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x": 1}'}
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "42"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}


def say(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        ("hello", [say("user", "hello")]),
        ([say("user", "hello")], [say("user", "hello")]),
        ([{"type": "message", **say("system", "a")}], [say("system", "a")]),
        ([say("developer", "a")], [say("developer", "a")]),
        (
            [say("user", [{"type": "input_text", "text": t} for t in ("a", "b")])],
            [say("user", "a\nb")],
        ),
        (
            # As a client sends back what it got.
            [
                {
                    "type": "message",
                    "id": "msg_1",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "a", "annotations": []}],
                }
            ],
            [say("assistant", "a")],
        ),
        (
            [say("assistant", [{"type": "refusal", "refusal": "no"}])],
            [say("assistant", "no")],
        ),
        ([{"type": None, **say("user", [{"type": "text", "text": "a"}])}], [say("user", "a")]),
        ([say("assistant", None)], [say("assistant", "")]),
        (
            [say("assistant", "a"), say("assistant", "b")],
            [say("assistant", "a"), say("assistant", "b")],
        ),
    ],
)
def test_messages(source: Any, messages: Any) -> None:
    assert list(parse_input(source, None)) == messages


def test_instructions_come_first() -> None:
    messages = parse_input([say("user", "a"), say("system", "b")], "be kind")
    assert [m["content"] for m in messages] == ["be kind", "a", "b"]
    assert messages[0]["role"] == "system"


def test_one_turn_of_the_model_is_one_message() -> None:
    second = {**CALL, "call_id": "c2"}
    items = [THOUGHT, say("assistant", "I look"), CALL, second, RESULT]
    assert list(parse_input(items, None)) == [
        {
            "role": "assistant",
            "content": "I look",
            "reasoning_content": "hm",
            "tool_calls": [TOOL_CALL, {**TOOL_CALL, "id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]


def test_a_call_without_a_message_is_a_turn_of_its_own() -> None:
    items = [say("user", "a"), THOUGHT, CALL, RESULT, THOUGHT, say("assistant", "b")]
    roles = [message["role"] for message in parse_input(items, None)]
    assert roles == ["user", "assistant", "tool", "assistant"]


def test_a_call_without_an_id_gets_that_of_its_item() -> None:
    call = {**CALL, "id": "fc_1"}
    del call["call_id"]
    (message,) = parse_input([call], None)
    assert message["tool_calls"][0]["id"] == "fc_1"


def test_unset_members_of_a_call_are_as_if_absent() -> None:
    call = {**CALL, "call_id": None, "id": "fc_1", "arguments": None, "status": None}
    (message,) = parse_input([call], None)
    (found,) = message["tool_calls"]
    assert (found["id"], found["function"]["arguments"]) == ("fc_1", "{}")


def test_reasoning_without_an_answer_is_kept() -> None:
    thought = {**THOUGHT, "content": [{"type": "reasoning_text", "text": "in full"}]}
    items = [thought, say("user", "a"), THOUGHT]
    assert list(parse_input(items, None)) == [
        {"role": "assistant", "content": "", "reasoning_content": "in full"},
        say("user", "a"),
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
    ]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "input is empty"),
        ([], "input is empty"),
        (5, "input must be a string or a list of items, found the number 5"),
        (["a"], "input[0] must be an object"),
        ([say("user", "a"), 5], "input[1] must be an object, found the number 5"),
        ([{"type": 5}], "input[0].type must be a string"),
        ([{"type": "massage"}], "'massage' is not supported; did you mean 'message'?"),
        ([{"type": "item_reference", "id": "x"}], "possible: message, function_call"),
        ([{"content": "a"}], "input[0].role must be one of user, assistant"),
        ([say("tool", "a")], "input[0].role must be one of user, assistant"),
        ([{"role": ["user"], "content": "a"}], "input[0].role must be one of"),
        ([{"role": "user"}], "input[0].content must be a string or a list of parts, found null"),
        ([say("user", [5])], "input[0].content[0] must be an object"),
        (
            [say("user", [{"type": "input_image", "image_url": "x"}])],
            "input[0].content[0].type must be 'input_text' or 'output_text', found the string",
        ),
        ([say("user", [{"type": {}}])], "input[0].content[0].type must be"),
        ([say("user", [{"type": "input_text"}])], "input[0].content[0].text must be a string"),
        ([{**CALL, "name": 5}], "input[0].name must be a string"),
        ([{**CALL, "arguments": {}}], "input[0].arguments must be a string, found an object"),
        ([{**RESULT, "call_id": None}], "input[0].call_id must be a string"),
        ([{**RESULT, "output": None}], "input[0].output must be a string or a list of parts"),
        ([{"type": "reasoning", "summary": "x"}], "input[0].summary must be a list of parts"),
        ([{"type": "reasoning", "content": [5]}], "input[0].content[0] must be an object"),
        ([{"type": "reasoning", "content": [{}]}], "input[0].content[0].text must be a string"),
    ],
)
def test_refused_inputs(source: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_input(source, None)
    assert problem in str(error.value)
    assert error.value.param == "input"
