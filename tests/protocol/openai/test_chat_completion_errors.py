"""Bodies of chat/completions that are refused, and what the messages say."""

from typing import Any

import pytest
from support.chat_calls import MESSAGES, parse

from server.errors import InvalidRequestError
from server.protocol.openai.chat_completions import parse_chat_completion


@pytest.mark.parametrize(
    ("field", "where"),
    [
        ({"logit_bias": {"1": True}}, "logit_bias.1"),
        ({"logit_bias": {"1": "1"}}, "logit_bias.1"),
        ({"logit_bias": {"1": None}}, "logit_bias.1"),
        ({"logit_bias": {"1": float("nan")}}, "logit_bias.1"),
        ({"stop_token_ids": [1, True]}, "stop_token_ids.1"),
        ({"stop_token_ids": ["1"]}, "stop_token_ids.0"),
        ({"stop_token_ids": [10**400]}, "stop_token_ids.0"),
    ],
)
def test_bad_values_inside_are_found(field: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse(**field)
    assert error.value.param == where


# Field -> values that are refused with a message that names it.
BAD_VALUES: dict[str, list[Any]] = {
    "model": [1, [], True],
    "messages": [[], {}, "hi", [1], [[]]],
    "stream": [1, 0, "true", []],
    "stop": [1, True, {}, [1], [None], ["x"] * 17, ["x" * 2001] * 2],
    "max_tokens": [0, -1, True, "5", 5.0, [], 2**32, 10**400],
    "max_completion_tokens": [0, -1, True, "5", 5.0, 2**32],
    "n": [0, -1, 129, 1.0, True, "1", 2**70],
    "best_of": [0, -1, 129, "1", True, 1.0],
    "num_beams": [0, -1, 129, 1.0, True, "1", 2**32],
    "use_beam_search": [True, 0, 1, "true"],
    "length_penalty": [10.1, -10.1, True, "1", float("nan"), 10**400],
    "early_stopping": ["x", 0, 1, [], {}, "x" * 1000],
    "include_stop_str_in_output": [0, 1, "true"],
    "skip_special_tokens": [0, 1, "true"],
    "truncate_prompt_tokens": [0, -2, 1.0, True, "1", 2**32],
    "prompt_logprobs": [-1, 21, 1.0, True, "1"],
    "temperature": [-0.1, 2.1, True, "1", [], 10**400, float("inf"), float("nan")],
    "top_k": [-2, 1.0, True, "1", 2**32],
    "top_p": [-0.1, 1.1, True, "1"],
    "min_p": [-0.1, 1.1, True, "1"],
    "repetition_penalty": [0, -1, True, "1"],
    "frequency_penalty": [-2.1, 2.1, True, "1"],
    "presence_penalty": [-2.1, 2.1, True, "1"],
    "seed": [2**63, -(2**63) - 1, True, 1.0, "1", 10**30, -(10**400)],
    "ignore_eos": [0, 1, "true"],
    "logprobs": [0, 1, 5, "true"],
    "top_logprobs": [1, -1, -(10**400), True, "1", 1.0],
    "tools": [{}, "x", [1], [{}], [{"type": "web"}], [{"type": "function"}],
              [{"type": "function", "function": {}}],
              [{"type": "function", "function": {"name": ""}}],
              [{"type": "function", "function": {"name": 1}}],
              [{"type": "function", "function": {"name": "f", "parameters": []}}]],
    "tool_choice": [1, True, "always", "required", [], {"type": "function"}, {"type": "x"},
                    {"type": "function", "function": {}}, {"type": "function", "function": "f"},
                    {"type": "function", "name": 1}, {"type": "function", "name": "f"},
                    {"type": "allowed_tools"}, {"type": "allowed_tools", "tools": [1]},
                    {"type": "allowed_tools", "mode": "x", "tools": []}],
    "chat_template": ["x"],
    "add_special_tokens": [True],
    "chat_template_kwargs": [[], "x", 1, True],
    "user": [1, [], {}],
    "metadata": ["x", 1, []],
    "store": [0, "no"],
    "service_tier": [1, []],
    "web_search_options": [{}],
    "allowed_token_ids": ["x", [], 5],
    "bad_words": ["x", ["x" * 101], ["x"] * 501],
    "mirostat": [1, 2],
    "echo": [True, 0],
    "prompt_embeds": ["x"],
    "watermark": [True],
    "lora": [[{"id": 0}]],
    "do_sample": [False],
    "return_token_ids": [1, "x"],
    "metrics": [1],
    "timings_per_token": [1],
    "structured_outputs": ["x", {"json": 5}, {"json": "{"}, {"json": "[]"}, {"choice": []},
                           {"choice": [""]}, {"choice": "a"}, {"regex": 5}, {"grammar": []},
                           {"json_object": 1}, {"regex": "a", "choice": ["a"]},
                           {"json": {}, "whitespace_pattern": "x"}],
    "guided_json": [5, "{", [1]],
    "guided_choice": ["a"],
    "parallel_tool_calls": [0, 1, "false"],
    "modalities": [["audio"], ["text", "audio"], "text", []],
    "response_format": [{"type": "json_schema", "json_schema": {}}, {}, "text", 1],
    "logit_bias": [[], 1, "x", {"1": 100.1}, {"1": -100.1}, {"-1": 1}, {"01": 1}, {"+1": 1},
                   {" 1": 1}, {"1_0": 1}, {"a": 1}, {"": 1}, {"\u0663": 1}, {"1" * 5000: 1},
                   {str(i): 1 for i in range(1001)}],
    "min_tokens": [-1, 1.0, True, "1", 2**32],
    "priority": [1.0, True, "1", 2**31, -(2**31) - 1],
    "cache_salt": [1, [], "", "x" * 257, "\ud800"],
    "audio": [{}],
    "functions": [[{}]],
    "reasoning_effort": ["huge", 1],
    "include_reasoning": ["no", 1],
    "add_generation_prompt": ["no", 1],
    "continue_final_message": ["no", 1],
    "documents": [{}, "x"],
    "stop_token_ids": [1, {}, "x", [1] * 129],
    "stream_options": [[], "x", True],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VALUES)
def test_bad_value_is_refused_by_name(name: str) -> None:
    for value in BAD_VALUES[name]:
        with pytest.raises(InvalidRequestError) as error:
            parse(**{name: value})
        assert error.value.param == name, value
        assert name in str(error.value)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"chat_template_kwargs": {str(i): i for i in range(1001)}},
            "chat_template_kwargs",
            "chat_template_kwargs has 1001 fields; at most 1000 are possible",
        ),
        ({"web_search_options": {}}, "web_search_options", "not supported: the server does not"),
        (
            {"modalities": ["audio"]},
            "modalities",
            'not supported; it can only be ["text"]: only text is served',
        ),
        ({"do_sample": False}, "do_sample", "temperature 0 always takes the likeliest token"),
        (
            {"guided_regex": "a", "response_format": {"type": "json_object"}},
            "guided_regex",
            "response_format and guided_regex both say what the answer must look like",
        ),
        (
            {"structured_outputs": {"regex": "a", "json_object": True}},
            "structured_outputs",
            "structured_outputs can only have one of json, regex, choice",
        ),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "top_logprobs must be at most 20"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "with stream: true"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "must be true or false, found the number 1",
        ),
    ],
)
def test_message_says_what_is_possible(fields: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse(**fields)
    assert error.value.param == param
    assert message in str(error.value)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_required_field(missing: str) -> None:
    fields = {"model": "m", "messages": MESSAGES}
    for without in ({**fields, missing: None}, {k: v for k, v in fields.items() if k != missing}):
        with pytest.raises(InvalidRequestError, match=f"^{missing} is missing$"):
            parse_chat_completion(without)


@pytest.mark.parametrize(
    ("message", "where"),
    [
        (1, "messages[1]"),
        ({}, "messages[1].role"),
        ({"role": 1}, "messages[1].role"),
        ({"role": "user", "content": 1}, "messages[1].content"),
        ({"role": "user", "content": {}}, "messages[1].content"),
        ({"role": "user", "content": ["x"]}, "messages[1].content[0]"),
        ({"role": "user", "content": [{"text": "x"}]}, "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text"),
        ({"role": "assistant", "tool_calls": {}}, "messages[1].tool_calls"),
        ({"role": "assistant", "tool_calls": [1]}, "messages[1].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[1].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"function": {}}]},
            "messages[1].tool_calls[0].function.name",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 1}}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
    ],
)
def test_bad_message_is_named(message: Any, where: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse(messages=[*MESSAGES, message])
    assert str(error.value).startswith(f"{where} must be ")
    assert error.value.param == "messages"


def test_too_many_fields_are_refused_at_once() -> None:
    with pytest.raises(InvalidRequestError, match="the body has 1003 fields; at most 1000"):
        parse(**{str(number): 1 for number in range(1001)})


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"max_token": 1}, "max_token", "unknown field 'max_token'; did you mean 'max_tokens'"),
        ({"zzz": [1]}, "zzz", "unknown field 'zzz'"),
        ({"z" * 5000: 1}, "z" * 100, "unknown field 'zzz"),
        ({"prompt": "x"}, "prompt", "unknown field 'prompt'"),
        ({"model_dump": 1}, "model_dump", "unknown field 'model_dump'"),
        (
            {"stream": True, "stream_options": {"incl_usage": True}},
            "stream_options.incl_usage",
            "did you mean 'stream_options.include_usage'",
        ),
        (
            {"response_format": {"type": "text", "strict_": 1}},
            "response_format.strict_",
            "unknown field 'response_format.strict_'",
        ),
        (
            {"structured_outputs": {"regex": "a", "regexp": "b"}},
            "structured_outputs.regexp",
            "unknown field 'structured_outputs.regexp'",
        ),
    ],
)
def test_unknown_names_are_found_and_can_be_refused(
    fields: dict[str, Any], name: str, message: str
) -> None:
    unknown = parse(**fields).unknown_fields
    assert unknown.names == (name,)
    with pytest.raises(InvalidRequestError) as error:
        unknown.refuse()
    assert error.value.param == name
    assert message in str(error.value)


def test_known_names_are_not_unknown() -> None:
    parse(temperature=0, user="u", x=None).unknown_fields.refuse()


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"role": "tool", "content": "R", "tool_call_id": [1]}, "messages[0].tool_call_id"),
        (
            {"role": "assistant", "tool_calls": [{"id": {}, "function": {"name": "f"}}]},
            "messages[0].tool_calls[0].id",
        ),
    ],
)
def test_an_id_of_a_tool_call_is_a_string(message: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse(messages=[message])
    assert str(error.value).startswith(f"{place} must be a string, found")
    assert error.value.param == "messages"
