import json

import pytest
from support.parsing import Parsed, parse, parse_all_ways


def call(*parameters, name="get_weather"):
    body = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in parameters)
    return f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>"


def test_parameters_get_the_types_of_the_tool():
    text = call(("city", "Paris"), ("days", "3"), ("exact", "True"), ("places", '["a", "b"]'))
    arguments = '{"city": "Paris", "days": 3, "exact": true, "places": ["a", "b"]}'
    assert parse_all_ways(text, "qwen3coder") == Parsed(calls=[("get_weather", arguments)])


def test_a_call_without_parameters():
    assert parse_all_ways(call(), "qwen3coder") == Parsed(calls=[("get_weather", "{}")])


def test_text_around_calls_and_several_of_them():
    text = f"Now:\n{call(('city', 'a'))}\n{call(('city', 'b'))} Done."
    calls = [("get_weather", '{"city": "a"}'), ("get_weather", '{"city": "b"}')]
    assert parse_all_ways(text, "qwen3coder") == Parsed("Now:Done.", calls=calls)


@pytest.mark.parametrize(
    "value",
    ['line 1\n\n  line "2" \\d\n', "42", "null", "", "<b>&amp;</b> </parame", '{"a": "日本 😀"}'],
)
def test_a_string_is_taken_as_it_is(value):
    parsed = parse_all_ways(call(("city", value)), "qwen3coder")
    assert [(name, json.loads(text)) for name, text in parsed.calls] == [
        ("get_weather", {"city": value})
    ]


@pytest.mark.parametrize("key", ["days", "exact", "places"])
@pytest.mark.parametrize(
    ("value", "read"), [("None", None), ("null", None), ("no JSON", "no JSON"), ("1.5", 1.5)]
)
def test_values_that_are_not_of_their_type(key, value, read):
    parsed = parse_all_ways(call((key, value)), "qwen3coder")
    assert json.loads(parsed.calls[0][1]) == {key: read}


def test_what_the_tool_does_not_describe_is_a_string():
    parsed = parse_all_ways(call(("other", "1")), "qwen3coder")
    assert parsed.calls == [("get_weather", '{"other": "1"}')]
    parsed = parse_all_ways(call(("city", "1"), name="unknown"), "qwen3coder")
    assert parsed.calls == [("unknown", '{"city": "1"}')]


@pytest.mark.parametrize(
    ("schema", "value", "read"),
    [
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "1", "1"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "1", 1),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "none", None),
        ({"type": 5, "anyOf": {"type": "integer"}, "oneOf": [7, []]}, "1", "1"),
        ("no schema", "1", "1"),
    ],
)
def test_other_ways_to_write_a_type(schema, value, read):
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}
    tools = ({"type": "function", "function": function},)
    parsed = parse_all_ways(call(("a", value), name="f"), "qwen3coder", tools=tools)
    assert json.loads(parsed.calls[0][1]) == {"a": read}


@pytest.mark.parametrize("parameters", [None, {}, {"properties": None}, {"properties": [1]}])
def test_tools_without_properties(parameters):
    tools = ({"type": "function", "function": {"name": "f", "parameters": parameters}},)
    parsed = parse_all_ways(call(("a", "1"), name="f"), "qwen3coder", tools=tools)
    assert parsed.calls == [("f", '{"a": "1"}')]


def test_models_forget_tags():
    whole = call(("city", "Paris"))
    expected = Parsed(calls=[("get_weather", '{"city": "Paris"}')])
    assert parse_all_ways(whole.removeprefix("<tool_call>\n"), "qwen3coder") == expected
    assert parse_all_ways(whole.removesuffix("</tool_call>"), "qwen3coder") == expected
    assert parse_all_ways(whole.replace("</function>\n", ""), "qwen3coder") == expected


@pytest.mark.parametrize(
    "text",
    [
        "Hello <tool_call> world",
        '<tool_call>{"name": "f"}</tool_call>',
        "<function=",
        "<tool_call>\n<function=",
        "a <function=x\n> b",
        "<function=>",
        f"<function={'x' * 400}>",
    ],
)
def test_what_is_no_call_is_content(text):
    assert parse_all_ways(text, "qwen3coder") == Parsed(text)


def test_text_between_parameters_is_content():
    text = "<function=f>\n oh <parameter=a>1</parameter></function>"
    assert parse_all_ways(text, "qwen3coder") == Parsed("oh", calls=[("f", '{"a": "1"}')])


def test_a_call_that_is_cut_off_keeps_what_it_has():
    text = call(("city", "Paris"))
    parsed = parse_all_ways(text[: text.index("ris")], "qwen3coder")
    assert parsed == Parsed(calls=[("get_weather", '{"city": "Pa')])


def test_strings_are_streamed_as_they_come():
    pieces = ["<function=f><parameter=a>", "one ", '"two"\n', "three", "\n</parameter>"]
    shown = [parse(pieces[:count], "qwen3coder").calls[0][1] for count in (2, 3, 4, 5)]
    assert shown[0] == '{"a": "one '
    assert shown[2] == r'{"a": "one \"two\"\nthree'
    assert shown[3] == r'{"a": "one \"two\"\nthree"'
