"""The body of /responses."""

from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import AnswerFormat, ChatOptions, GenerationRequest
from server.protocol.generation_call import GenerationCall
from server.protocol.responses.responses import parse_response


def parse(**fields: Any) -> GenerationCall:
    return parse_response({"model": "m", "input": "hi", **fields})


def request_of(**fields: Any) -> GenerationRequest:
    (request,) = parse(**fields).prompts
    return request


def test_smallest() -> None:
    call = parse()
    assert (call.model, call.num_choices, call.stream) == ("m", 1, False)
    request = request_of()
    assert request.messages == ({"role": "user", "content": "hi"},)
    assert request.sampling == {}
    assert request.chat_template_kwargs == {}


def test_sampling() -> None:
    request = request_of(
        max_output_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        seed=7,
        stop=["x"],
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    )
    assert request.stop == ("x",)
    assert request.sampling == {
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 7,
        "logprobs": 2,
    }


@pytest.mark.parametrize(
    ("fields", "logprobs"),
    [
        ({}, None),
        ({"include": []}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 3}, 3),
        ({"include": ["message.output_text.logprobs"]}, 0),
    ],
)
def test_logprobs(fields: Any, logprobs: int | None) -> None:
    assert request_of(**fields).sampling.get("logprobs") == logprobs


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"reasoning": {"effort": "low"}}, ChatOptions(reasoning_effort="low")),
        ({"reasoning": {"effort": None, "summary": "auto"}}, ChatOptions()),
    ],
)
def test_what_is_said_about_reasoning_reaches_the_prompt(fields: Any, options: Any) -> None:
    assert request_of(**fields).chat_options == options


def test_encrypted_reasoning_asks_for_no_log_probabilities() -> None:
    request = request_of(include=["reasoning.encrypted_content"])
    assert "logprobs" not in request.sampling


def test_the_form_of_the_text() -> None:
    schema = {"type": "object", "properties": {"a": {}}}
    text_format = {"type": "json_schema", "name": "n", "strict": True, "schema": schema}
    assert request_of(text={"format": text_format}).answer_format == AnswerFormat(
        "json", schema, "text.format"
    )
    found = request_of(text={"format": {"type": "json_object"}}).answer_format
    assert found == AnswerFormat("json", {"type": "object"}, "text.format")
    assert request_of(text={"format": {"type": "text"}}).answer_format is None
    assert request_of(text={}).answer_format is None


def test_tools_in_the_flat_form() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    function = {"name": "f", "parameters": {"type": "object"}}
    assert request_of(tools=[tool]).tools == ({"type": "function", "function": function},)
    assert request_of(tools=[tool], tool_choice="none").tools == ()


def test_a_tool_that_must_be_called_alone() -> None:
    tool = {"type": "function", "name": "f"}
    request = request_of(tools=[tool], tool_choice=tool, parallel_tool_calls=True)
    assert (request.is_tool_required, request.parallel_tool_calls) == (True, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"store": True},
        {"store": False},
        {"background": False},
        {"truncation": "disabled"},
        {"truncation": "auto", "max_tool_calls": 5, "service_tier": "flex"},
        {"text": {"verbosity": "low"}, "include": ["reasoning.encrypted_content"]},
        {"reasoning": {"summary": "detailed"}, "prompt_cache_retention": "24h"},
        {"parallel_tool_calls": True},
        {"service_tier": "auto"},
        {"text": {"format": {"type": "text"}, "verbosity": "medium"}},
        {"text": None, "reasoning": None, "previous_response_id": None, "conversation": None},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"n": 1},
        {"prompt_cache_retention": "in_memory"},
    ],
)
def test_fields_that_ask_for_the_default(fields: Any) -> None:
    request = request_of(**fields)
    assert (request.sampling.get("n", 1), request.chat_template_kwargs) == (1, {})


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"input": None}, "input", "input is missing"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "responses are not stored"),
        ({"conversation": {"id": "c"}}, "conversation", "send the earlier items in input"),
        ({"background": True}, "background", "not supported; it can only be false"),
        ({"prompt": {"id": "x"}}, "prompt", "prompt is not supported"),
        ({"n": 2}, "n", "n is 2; a response has exactly one"),
        ({"max_output_tokens": 0}, "max_output_tokens", "max_output_tokens must be at least 1"),
        ({"max_output_tokens": "5"}, "max_output_tokens", "must be an integer"),
        ({"top_logprobs": 21}, "top_logprobs", "top_logprobs must be at most 20"),
        ({"include": ["reasoning.content"]}, "include.0", "message.output_text.logprobs"),
        ({"include": "x"}, "include", "must be a list"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"text": {"format": {"type": "xml"}}}, "text.format", "text.format.type must be one of"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x"}}},
            "text.format",
            "text.format.schema must be an object, found null",
        ),
        ({"text": {"format": "text"}}, "text.format", "text.format must be an object"),
        (
            {"stream": True, "stream_options": {"continuous_usage_stats": True}},
            "stream_options.continuous_usage_stats",
            "not supported; it can only be false",
        ),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "'high'"),
        ({"reasoning": {"summary": "x"}}, "reasoning.summary", "'auto'"),
        ({"tools": [{"type": "web_search"}]}, "tools", "must be 'function'"),
        ({"tools": [None]}, "tools", "must be an object"),
        ({"tools": ["x"]}, "tools", "must be an object"),
        ({"tools": [5]}, "tools", "tools[0] must be an object"),
        ({"tools": [{"type": "function", "function": 5}]}, "tools", "must be an object"),
        ({"metadata": {"a": 5}}, "metadata.a", "must be a string"),
        ({"instructions": 5}, "instructions", "must be a string"),
        ({"stream_options": {}}, "stream_options", "only be used together with stream"),
        ({"store": "yes"}, "store", "must be true or false"),
    ],
)
def test_refusals(fields: Any, param: str, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse(**fields)
    assert problem in str(error.value)
    assert error.value.param == param


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"messages": []}, "messages", "unknown field 'messages'"),
        (
            {"reasoning": {"effor": "low"}},
            "reasoning.effor",
            "unknown field 'reasoning.effor'; did you mean 'reasoning.effort'",
        ),
    ],
)
def test_unknown_names_are_found(fields: Any, name: str, message: str) -> None:
    unknown = parse(**fields).unknown_fields
    assert unknown.names == (name,)
    assert message in unknown.describe(name)
