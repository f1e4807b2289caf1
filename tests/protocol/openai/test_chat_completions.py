"""Bodies of chat/completions, understood or refused."""

import json
from typing import Any

import pytest
from support.chat_calls import MESSAGES, parse

from server.errors import InvalidRequestError
from server.payloads import AnswerFormat, ChatOptions, GenerationRequest

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def request_of(**fields: Any) -> GenerationRequest:
    (request,) = parse(**fields).prompts
    return request


def test_unset_fields_are_left_out() -> None:
    call = parse()
    assert (call.model, call.num_choices, call.stream) == ("m", 1, False)
    (request,) = call.prompts
    assert request == GenerationRequest(request.request_id, messages=tuple(MESSAGES))


def test_null_means_unset_in_every_field() -> None:
    names = [
        "stream", "stream_options", "stop", "max_tokens", "max_completion_tokens", "n", "best_of",
        "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
        "presence_penalty", "seed", "ignore_eos", "logprobs", "top_logprobs", "tools",
        "tool_choice", "chat_template_kwargs", "user", "store", "response_format", "logit_bias",
        "metadata", "reasoning_effort", "functions", "no_such_field",
    ]  # fmt: skip
    request = request_of(**dict.fromkeys(names))
    assert request == GenerationRequest(request.request_id, messages=tuple(MESSAGES))
    assert parse(stream=True, stream_options={"include_usage": None}).stream


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_tokens", [1, 2**32 - 1]),
        ("n", [1, 128]),
        ("temperature", [0, 0.0, 1, 2]),
        ("top_k", [-1, 1, 2**32 - 1]),
        ("top_p", [0, 0.5, 1]),
        ("min_p", [0, 0.5, 1]),
        ("repetition_penalty", [0.1, 1, 1.5]),
        ("frequency_penalty", [-2, 0, 2]),
        ("presence_penalty", [-2, 0, 2]),
        ("seed", [0, 2**32 - 1]),
        ("ignore_eos", [True, False]),
        ("min_tokens", [0, 1, 2**32 - 1]),
    ],
)
def test_sampling_fields_pass_as_they_are(name: str, values: list[Any]) -> None:
    for value in values:
        assert request_of(**{name: value}).sampling == {name: value}


def test_fields_about_token_ids() -> None:
    bias = {"0": -100, "17": 100, "2047": 0.5}
    assert request_of(logit_bias=bias).sampling == {"logit_bias": {0: -100, 17: 100, 2047: 0.5}}
    assert request_of(logit_bias={}).sampling == {"logit_bias": {}}
    assert len(request_of(logit_bias={str(i): 1 for i in range(1000)}).sampling["logit_bias"])
    assert request_of(stop_token_ids=[5, 3]).sampling == {"stop_token_ids": (5, 3)}
    assert request_of(stop_token_ids=[1] * 128).sampling == {"stop_token_ids": (1,) * 128}


def test_min_tokens_must_not_exceed_max_tokens() -> None:
    assert request_of(min_tokens=5, max_tokens=5).sampling == {"min_tokens": 5, "max_tokens": 5}
    with pytest.raises(InvalidRequestError, match="min_tokens is 6; .* max_tokens, which is 5"):
        parse(min_tokens=6, max_tokens=5)


def test_fields_about_the_whole_request() -> None:
    assert (request_of().priority, request_of().cache_salt) == (0, "")
    for priority in (-(2**31), -1, 0, 2**31 - 1):
        assert request_of(priority=priority).priority == priority
    for salt in ("x", "x" * 256, "é\0"):
        assert request_of(cache_salt=salt).cache_salt == salt


def test_fields_about_the_text() -> None:
    plain = request_of()
    assert (plain.include_stop_str_in_output, plain.skip_special_tokens) == (False, True)
    changed = request_of(include_stop_str_in_output=True, skip_special_tokens=False)
    assert (changed.include_stop_str_in_output, changed.skip_special_tokens) == (True, False)


@pytest.mark.parametrize("kept", [None, -1, 1, 2**32 - 1])
def test_truncate_prompt_tokens(kept: int | None) -> None:
    assert request_of(truncate_prompt_tokens=kept).truncate_prompt_tokens == kept


def test_best_of() -> None:
    assert request_of().best_of is None
    assert request_of(best_of=128).best_of == 128
    assert request_of(n=3, best_of=3).best_of == 3
    assert request_of(n=3, best_of=3, stream=True).best_of == 3
    with pytest.raises(InvalidRequestError, match="best_of is 2; it must be from n, which is 3"):
        parse(n=3, best_of=2)
    with pytest.raises(InvalidRequestError, match="best_of is 4; a stream cannot wait"):
        parse(n=3, best_of=4, stream=True)


def test_prompt_logprobs() -> None:
    assert request_of(prompt_logprobs=0).sampling == {"prompt_logprobs": 0}
    assert request_of(prompt_logprobs=20).sampling == {"prompt_logprobs": 20}
    with pytest.raises(InvalidRequestError, match="not possible together with stream: true"):
        parse(prompt_logprobs=1, stream=True)


def test_max_completion_tokens_wins() -> None:
    assert request_of(max_tokens=5, max_completion_tokens=3).sampling == {"max_tokens": 3}
    assert request_of(max_completion_tokens=3).sampling == {"max_tokens": 3}


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"logprobs": False}, {}),
        ({"logprobs": True}, {"logprobs": 0}),
        ({"logprobs": True, "top_logprobs": 20}, {"logprobs": 20}),
        ({"top_logprobs": 0}, {}),
    ],
)
def test_logprobs(fields: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert request_of(**fields).sampling == sampling


def test_stop() -> None:
    assert request_of(stop="a").stop == ("a",)
    assert request_of(stop=[]).stop == ()
    assert request_of(stop=["x"] * 16).stop == ("x",) * 16
    assert request_of(stop=["x" * 2000] * 2).stop == ("x" * 2000,) * 2


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (message,) = request_of(messages=[{"role": "user", "content": parts}]).messages or ()
    assert message == {"role": "user", "content": "a\nb"}


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": []}])
def test_message_without_text(content: dict[str, Any]) -> None:
    (message,) = request_of(messages=[{"role": "tool", **content}]).messages or ()
    assert message == {"role": "tool", "content": ""}


def test_other_members_of_a_message_are_kept_and_nulls_are_not() -> None:
    sent = {"role": "x", "content": "a", "name": "n", "mood": {"a": [1]}, "refusal": None}
    (message,) = request_of(messages=[sent]).messages or ()
    assert message == {"role": "x", "content": "a", "name": "n", "mood": {"a": [1]}}


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}])
def test_missing_arguments_of_a_tool_call(arguments: dict[str, Any]) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", **arguments}}
    (message,) = request_of(messages=[{"role": "assistant", "tool_calls": [call]}]).messages or ()
    (parsed,) = message["tool_calls"]
    assert parsed == {**call, "function": {"name": "f", "arguments": "{}"}}


def test_tools_reach_the_template() -> None:
    flat = {"type": "function", "name": "g", "parameters": {"type": "object"}}
    first, second = request_of(tools=[TOOL, flat], tool_choice="auto").tools
    assert first == TOOL
    assert second["function"] == {"name": "g", "parameters": {"type": "object"}}
    assert request_of(tools=[TOOL], tool_choice="none").tools == ()


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    ("tool_choice", "names", "is_required", "is_parallel"),
    [
        (None, ["f", "g"], False, True),
        ("auto", ["f", "g"], False, True),
        ("none", [], False, True),
        ("required", ["f", "g"], True, True),
        ({"type": "function", "function": {"name": "g"}}, ["g"], True, False),
        ({"type": "function", "name": "f"}, ["f"], True, False),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "g"}}],
                },
            },
            ["g"],
            True,
            True,
        ),
        (
            {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]},
            ["f"],
            False,
            True,
        ),
    ],
)
def test_a_choice_among_tools(
    tool_choice: Any, names: list[str], is_required: bool, is_parallel: bool
) -> None:
    request = request_of(tools=[tool("f"), tool("g")], tool_choice=tool_choice)
    assert [each["function"]["name"] for each in request.tools] == names
    assert request.is_tool_required is is_required
    assert request.parallel_tool_calls is is_parallel


def test_calls_one_by_one() -> None:
    request = request_of(tools=[tool("f")], parallel_tool_calls=False)
    assert (request.is_tool_required, request.parallel_tool_calls) == (False, False)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["get_time", "get_weather"], "tool_choice names 'get_wether', which is no tool; did you"),
        (["a", "b"], "which is no tool; possible: a, b"),
        ([], "which is no tool; there are no tools"),
    ],
)
def test_a_named_tool_must_exist(names: list[str], problem: str) -> None:
    choice = {"type": "function", "function": {"name": "get_wether"}}
    with pytest.raises(InvalidRequestError, match=problem) as error:
        request_of(tools=[tool(name) for name in names], tool_choice=choice)
    assert error.value.param == "tool_choice"


def test_a_response_format_is_a_schema_for_the_answer() -> None:
    found = request_of(response_format={"type": "json_object"}).answer_format
    assert found == AnswerFormat("json", {"type": "object"})
    asked = {"type": "json_schema", "json_schema": {"schema": {"type": "integer"}}}
    assert request_of(response_format=asked).answer_format == AnswerFormat(
        "json", {"type": "integer"}
    )


SCHEMA = {"type": "integer"}
TAG = {"format": {"type": "any_text"}}


@pytest.mark.parametrize(
    ("fields", "kind", "value", "field"),
    [
        ({"structured_outputs": {"json": SCHEMA}}, "json", SCHEMA, "structured_outputs"),
        ({"structured_outputs": {"json": '{"a": 1}'}}, "json", {"a": 1}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+", "structured_outputs"),
        ({"structured_outputs": {"choice": ["a"]}}, "choice", ["a"], "structured_outputs"),
        ({"structured_outputs": {"grammar": "g"}}, "grammar", "g", "structured_outputs"),
        (
            {"structured_outputs": {"json_object": True}},
            "json",
            {"type": "object"},
            "structured_outputs",
        ),
        (
            {"structured_outputs": {"structural_tag": json.dumps(TAG)}},
            "structural_tag",
            TAG,
            "structured_outputs",
        ),
        ({"guided_json": SCHEMA}, "json", SCHEMA, "guided_json"),
        ({"guided_regex": "a"}, "regex", "a", "guided_regex"),
        ({"guided_choice": ["a", "b"]}, "choice", ["a", "b"], "guided_choice"),
        ({"guided_grammar": "g"}, "grammar", "g", "guided_grammar"),
        ({"json_schema": SCHEMA}, "json", SCHEMA, "json_schema"),
        ({"regex": "a", "response_format": {"type": "text"}}, "regex", "a", "regex"),
        ({"ebnf": "g"}, "grammar", "g", "ebnf"),
        ({"grammar": "g", "guided_choice": []}, "grammar", "g", "grammar"),
    ],
)
def test_other_ways_to_constrain_an_answer(
    fields: dict[str, Any], kind: Any, value: Any, field: str
) -> None:
    assert request_of(**fields).answer_format == AnswerFormat(kind, value, field)


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"n_predict": 5}, {"max_tokens": 5}),
        ({"max_new_tokens": 5, "max_tokens": 6}, {"max_tokens": 6}),
        ({"repeat_penalty": 1.5}, {"repetition_penalty": 1.5}),
        ({"seed": -(2**63)}, {"seed": -(2**63)}),
        ({"allowed_token_ids": [3, 1]}, {"allowed_token_ids": (3, 1)}),
        ({"top_k": 0, "length_penalty": 2.0}, {"top_k": 0, "length_penalty": 2.0}),
    ],
)
def test_sampling_fields_of_other_servers(fields: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert request_of(**fields).sampling == sampling


def test_chat_template_kwargs_reach_the_template() -> None:
    kwargs = {"enable_thinking": False}
    assert request_of(chat_template_kwargs=kwargs).chat_template_kwargs == kwargs


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, ChatOptions()),
        ({"reasoning_effort": "none"}, ChatOptions(reasoning_effort="none")),
        ({"add_generation_prompt": False}, ChatOptions(add_generation_prompt=False)),
        (
            {"continue_final_message": True},
            ChatOptions(continue_final_message=True, add_generation_prompt=False),
        ),
        ({"documents": [{"text": "a"}]}, ChatOptions(documents=({"text": "a"},))),
    ],
)
def test_what_a_client_says_about_the_prompt(fields: Any, options: ChatOptions) -> None:
    assert request_of(**fields).chat_options == options


@pytest.mark.parametrize(
    ("fields", "effort", "budget", "kwargs"),
    [
        ({"enable_thinking": False}, "none", None, {}),
        ({"enable_thinking": True}, None, None, {"enable_thinking": True, "thinking": True}),
        ({"enable_thinking": True, "reasoning_effort": "low"}, "low", None, {}),
        ({"thinking": {"type": "disabled"}}, "none", None, {}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
            None,
            9,
            {"enable_thinking": True, "thinking": True},
        ),
        ({"thinking": {"type": "adaptive"}}, None, None, {}),
        ({"reasoning": {"effort": "high", "max_tokens": 5}}, "high", 5, {}),
        ({"reasoning": {"enabled": False}}, "none", None, {}),
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "low", None, {}),
        ({"thinking_token_budget": 1, "reasoning": {"max_tokens": 5}}, None, 1, {}),
        ({"thinking_budget": 3}, None, 3, {}),
        ({"thinking_budget_tokens": 4}, None, 4, {}),
    ],
)
def test_other_servers_names_of_thinking(
    fields: Any, effort: Any, budget: Any, kwargs: Any
) -> None:
    request = request_of(**fields)
    assert request.chat_options.reasoning_effort == effort
    assert request.chat_options.thinking_token_budget == budget
    assert request.chat_template_kwargs == kwargs


def test_a_prompt_cannot_end_at_two_places() -> None:
    with pytest.raises(InvalidRequestError, match="cannot both be true"):
        request_of(continue_final_message=True, add_generation_prompt=True)


def test_content_beside_tool_calls_may_be_null() -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    for fields, content in (({}, None), ({"content": None}, None), ({"content": ""}, "")):
        sent = {"role": "assistant", "tool_calls": calls, **fields}
        (message,) = request_of(messages=[sent]).messages or ()
        assert message["content"] == content


def test_a_refusal_beside_no_content_is_content() -> None:
    message = {"role": "assistant", "content": None, "refusal": "No."}
    (parsed,) = request_of(messages=[message]).messages
    assert parsed == {"role": "assistant", "content": "No."}


def test_the_older_functions_are_tools() -> None:
    call = {"name": "f", "arguments": "{}"}
    messages = [
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "f", "content": "R"},
    ]
    asked, answered = request_of(messages=messages).messages
    assert asked["tool_calls"] == [{"type": "function", "function": call}]
    assert answered == {"role": "tool", "name": "f", "content": "R"}


def test_a_tool_call_needs_no_type() -> None:
    message = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
    (parsed,) = request_of(messages=[message]).messages
    assert parsed["tool_calls"][0]["type"] == "function"


def test_unset_members_of_a_tool_are_left_out() -> None:
    function = {"name": "f", "description": None, "parameters": None, "strict": None}
    (tool,) = request_of(tools=[{"type": "function", "function": function}]).tools
    assert tool["function"] == {"name": "f"}


def test_a_refusal_is_content() -> None:
    parts = [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "No."}]
    (message,) = request_of(messages=[{"role": "assistant", "content": parts}]).messages or ()
    assert message["content"] == "Well.\nNo."


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("kind", [{}, {"type": None}, {"type": "function"}])
def test_a_tool_needs_no_type(kind: Any, nested: bool) -> None:
    function = {"name": "wetter_köln", "parameters": {}}
    sent = {**kind, "function": function} if nested else {**kind, **function}
    (found,) = request_of(tools=[sent]).tools
    assert list(found.items()) == [("type", "function"), ("function", function)]


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "u", "metadata": {"a": "b"}, "safety_identifier": "x", "prompt_cache_key": "y"},
        {"store": False, "service_tier": "auto", "parallel_tool_calls": True},
        {"modalities": ["text"], "response_format": {"type": "text"}, "logit_bias": {}},
        {
            "store": True,
            "verbosity": "low",
            "service_tier": "flex",
            "prompt_cache_retention": "24h",
        },
        {
            "prediction": {"type": "content", "content": "x"},
            "keep_alive": "5m",
            "cache_prompt": True,
        },
        {"branching_factor": 2, "tree_depth": 3, "speculative.p_min": 0.5},
        {"top_k": 0, "stop": "", "length_penalty": 2.0, "early_stopping": True, "best_of": 1},
        {"stop": ["", ""], "bad_words": [], "guided_json": None, "structured_outputs": {}},
        {"mirostat": 0, "mirostat_tau": 5, "typical_p": 1.0, "xtc_probability": 0, "lora": []},
        {"echo": False, "watermark": False, "do_sample": True, "audio": None, "functions": []},
        {"suffix": None, "web_search_options": None, "reasoning_effort": None, "echo": None},
        {"n": 3, "best_of": 3},
        {"best_of": 1},
        {"best_of": 2},
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        {"response_format": {"type": "text", "json_schema": None, "schema": None}},
        {"stream": True, "stream_options": {"include_usage": None, "include_obfuscation": None}},
    ],
)
def test_fields_that_change_nothing_pass(fields: dict[str, Any]) -> None:
    assert request_of(**fields).messages == tuple(MESSAGES)


def test_fields_of_speculative_decoding() -> None:
    sent = {"num_assistant_tokens": 0, "max_ngram_size": 3, "assistant_confidence_threshold": 0.4}
    assert request_of(**sent).sampling == sent
    assert request_of(**{"speculative.n_max": 7}).sampling == {"num_assistant_tokens": 7}
    assert request_of(num_assistant_tokens=None).sampling == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_assistant_tokens", -1),
        ("num_assistant_tokens", 2.5),
        ("max_ngram_size", 0),
        ("assistant_confidence_threshold", 1.5),
        ("assistant_confidence_threshold", "high"),
    ],
)
def test_fields_of_speculative_decoding_have_ranges(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=field) as caught:
        request_of(**{field: value})
    assert caught.value.param == field
