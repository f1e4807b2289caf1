"""The body of /messages, and its answers."""

import json
from typing import Any

import pytest
from anthropic.types import Message

from server.errors import InvalidRequestError
from server.payloads import AnswerFormat, GenerationRequest, TextChunk, ToolCallDelta
from server.protocol.anthropic.messages import parse_message
from server.protocol.generation_call import Choice, GenerationCall, usage_of


def parse(**fields: Any) -> GenerationCall:
    messages = [{"role": "user", "content": "hi"}]
    return parse_message({"model": "m", "max_tokens": 9, "messages": messages, **fields})


def request_of(**fields: Any) -> GenerationRequest:
    (request,) = parse(**fields).prompts
    return request


def test_smallest() -> None:
    call = parse()
    assert (call.model, call.num_choices, call.stream) == ("m", 1, False)
    request = request_of()
    assert request.messages == ({"role": "user", "content": "hi"},)
    assert request.sampling == {"max_tokens": 9}


def test_sampling() -> None:
    request = request_of(temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["x", "y"])
    assert request.stop == ("x", "y")
    expected = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 3}
    assert request.sampling == expected
    assert "top_k" not in request_of(top_k=0).sampling


def test_tools() -> None:
    tool = {"name": "look", "input_schema": {"type": "object"}}
    request = request_of(tools=[tool], tool_choice={"type": "any"})
    assert [t["function"]["name"] for t in request.tools] == ["look"]
    assert request.is_tool_required


@pytest.mark.parametrize(
    ("field", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "max"}}, "max"),
    ],
)
def test_thinking(field: dict[str, Any], effort: str | None) -> None:
    assert request_of(**field).chat_options.reasoning_effort == effort


def test_a_message_of_the_model_at_the_end_is_continued() -> None:
    question = {"role": "user", "content": "hi"}
    options = request_of(messages=[question, {"role": "assistant", "content": "He"}]).chat_options
    assert options.continue_final_message
    assert not options.add_generation_prompt
    call = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
    options = request_of(messages=[question, {"role": "assistant", "content": [call]}]).chat_options
    assert not options.continue_final_message


@pytest.mark.parametrize(
    "field",
    [
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ],
)
def test_a_schema(field: dict[str, Any]) -> None:
    assert request_of(**field).answer_format == AnswerFormat("json", {"type": "object"})


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"temperature": float("nan")}, "temperature"),
        ({"thinking": {"type": "on"}}, "thinking.type"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    ],
)
def test_bad_fields(field: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequestError, match=name.replace(".", r"\.")):
        parse(**field)


def call_delta(index: int, arguments: str, *, is_first: bool = False) -> ToolCallDelta:
    name = f"f{index}" if is_first else None
    return ToolCallDelta(index, f"id{index}" if is_first else None, name, arguments)


CHUNKS = [
    TextChunk(0, "", 10, 1, 4, reasoning="Hm", token_ids=(1,)),
    TextChunk(0, "", 10, 2, 4, reasoning=".", token_ids=(2,)),
    TextChunk(0, "Let me", 10, 3, 4, token_ids=(3,)),
    TextChunk(0, " see", 10, 4, 4, token_ids=(4,)),
    TextChunk(0, "", 10, 5, 4, tool_calls=(call_delta(0, '{"a":', is_first=True),)),
    TextChunk(0, "", 10, 6, 4, tool_calls=(call_delta(0, "1}"),)),
    TextChunk(0, "", 10, 7, 4, tool_calls=(call_delta(1, "{}", is_first=True),)),
    TextChunk(0, "", 10, 8, 4, finish_reason="tool_calls"),
]


def whole(chunks: list[TextChunk]) -> dict[str, Any]:
    choice = Choice()
    for chunk in chunks:
        choice.add(chunk)
    body = json.loads(b"".join(parse().renderer.whole([choice], usage_of({0: chunks[-1]}, 1))))
    Message.model_validate(body, strict=False)
    return dict(body)


def events(chunks: list[TextChunk]) -> list[dict[str, Any]]:
    renderer = parse(stream=True).renderer
    made = [renderer.chunk(chunk) or b"" for chunk in chunks]
    made.append(renderer.end(usage_of({0: chunks[-1]}, 1)))
    found = []
    for event in b"".join(made).decode().strip().split("\n\n"):
        kind, data = event.split("\n")
        members = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {members['type']}"
        found.append(members)
    return found


def test_an_answer_with_everything() -> None:
    message = whole(CHUNKS)
    assert [block["type"] for block in message["content"]] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert message["content"][0]["thinking"] == "Hm."
    assert message["content"][2]["input"] == {"a": 1}
    assert message["stop_reason"] == "tool_use"
    assert message["usage"] == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 8,
        "output_tokens_details": {"thinking_tokens": 2},
    }


def test_a_stream_says_the_same() -> None:
    """Put the blocks together as Anthropic's client does, and compare with the whole answer."""
    blocks: dict[int, dict[str, Any]] = {}
    partial: dict[int, str] = {}
    for event in events(CHUNKS):
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks[event["index"]] = event["content_block"]
        if event["type"] == "content_block_delta":
            delta = dict(event["delta"])
            kind = delta.pop("type")
            ((member, text),) = delta.items()
            if kind == "input_json_delta":
                partial[event["index"]] = partial.get(event["index"], "") + text
            else:
                blocks[event["index"]][member] += text
    for index, text in partial.items():
        blocks[index]["input"] = json.loads(text)
    assert list(blocks.values()) == whole(CHUNKS)["content"]


def test_the_frame_of_a_stream() -> None:
    found = events(CHUNKS)
    kinds = [event["type"] for event in found]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 4
    start = found[0]["message"]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert (start["usage"]["input_tokens"], start["usage"]["cache_read_input_tokens"]) == (6, 4)
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert found[-2]["usage"]["output_tokens"] == 8


@pytest.mark.parametrize(
    ("last", "reason", "sequence"),
    [
        (TextChunk(0, "", 1, 1, finish_reason="stop"), "end_turn", None),
        (TextChunk(0, "", 1, 9, finish_reason="length"), "max_tokens", None),
        (TextChunk(0, "", 1, 8, finish_reason="length"), "model_context_window_exceeded", None),
        (TextChunk(0, "", 1, 1, finish_reason="stop", stop_reason="\n"), "stop_sequence", "\n"),
    ],
)
def test_how_it_ended(last: TextChunk, reason: str, sequence: str | None) -> None:
    message = whole([last])
    assert message["content"] == [{"type": "text", "text": ""}]
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)
    assert events([last])[-2]["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


def test_a_tool_call_that_was_cut_off() -> None:
    chunks = [
        TextChunk(0, "", 1, 1, tool_calls=(call_delta(0, '{"a', is_first=True),)),
        TextChunk(0, "", 1, 2, finish_reason="length"),
    ]
    assert whole(chunks)["content"][0]["input"] == {}


def test_an_error_in_mid_stream() -> None:
    event = parse(stream=True).renderer.failure({"type": "service_unavailable", "message": "m"})
    kind, data = event.decode().strip().split("\n")
    assert kind == "event: error"
    error = {"type": "overloaded_error", "message": "m"}
    assert json.loads(data.removeprefix("data: ")) == {"type": "error", "error": error}


def test_unknown_names_are_found() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    assert parse_message({**body, "zzz": 1}).unknown_fields.names == ("zzz",)
