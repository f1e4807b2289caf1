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


LIST_OF_NAMES = {"type": "array", "items": {"type": "string"}}
REFERENCES = {
    "type": "object",
    "$defs": {
        "Point": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "Unit": {"enum": ["C", "F"]},
        "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}, {"$ref": "#/$defs/Count"}]},
        "Count": {"type": "integer"},
        "a/b~c": {"const": 5},
    },
    "allOf": [{"properties": {"inherited": {"type": "integer"}}}],
    "properties": {
        "point": {"$ref": "#/$defs/Point"},
        "unit": {"$ref": "#/$defs/Unit"},
        "loop": {"$ref": "#/$defs/Loop"},
        "escaped": {"$ref": "#/$defs/a~1b~0c"},
        "outside": {"$ref": "https://example.com/schema"},
        "missing": {"$ref": "#/$defs/Nothing"},
        "all": {"allOf": [{"$ref": "#/$defs/Point"}, {"description": "a point"}]},
        "any": {"anyOf": [{"type": "string"}, LIST_OF_NAMES, {"type": "null"}]},
        "one": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        "codes": {"enum": [1, 2, "auto"]},
        "fixed": {"const": True},
        "open": {"properties": {"a": {"type": "integer"}}},
        "list": {"items": {"type": "integer"}},
        "text": {"minLength": 1},
        "size": {"minimum": 0},
        "optional": {"type": "integer", "nullable": True},
        "anything": {},
        "true": True,
    },
}


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("point", '{"x": 1}', {"x": 1}),
        ("point", "{'x': 1, 'y': None}", {"x": 1, "y": None}),
        ("unit", "C", "C"),
        ("unit", "5", "5"),
        ("loop", "5", 5),
        ("escaped", "5", 5),
        ("outside", "5", "5"),
        ("missing", "5", "5"),
        ("inherited", "5", 5),
        ("all", '{"x": 1}', {"x": 1}),
        ("any", '["a", "b"]', ["a", "b"]),
        ("any", "a", "a"),
        ("any", '"a"', '"a"'),
        ("any", "5", "5"),
        ("any", "None", None),
        ("one", "5", 5),
        ("one", "five", "five"),
        ("codes", "2", 2),
        ("codes", "auto", "auto"),
        ("fixed", "True", True),
        ("open", '{"a": 1}', {"a": 1}),
        ("list", "[1, 2]", [1, 2]),
        ("list", "(1, 2)", [1, 2]),
        ("text", "5", "5"),
        ("size", "5", 5),
        ("size", '"5"', 5),
        ("optional", "null", None),
        ("anything", "5", "5"),
        ("true", "5", "5"),
    ],
)
def test_the_type_is_found_in_the_schema(key, value, read):
    function = {"name": "f", "parameters": REFERENCES}
    tools = ({"type": "function", "function": function},)
    parsed = parse_all_ways(call((key, value), name="f"), "qwen3coder", tools=tools)
    assert json.loads(parsed.calls[0][1]) == {key: read}


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


@pytest.mark.parametrize("line", ["\n", ""])
def test_a_value_without_an_end_ends_at_the_next_tag(line):
    text = (
        f"<tool_call>\n<function=get_weather>\n<parameter=city>{line}Paris{line}"
        f"<parameter=days>{line}3{line}</function>\n</tool_call>"
    )
    expected = Parsed(calls=[("get_weather", '{"city": "Paris", "days": 3}')])
    assert parse_all_ways(text, "qwen3coder") == expected
    assert parse_all_ways(text.replace("</function>\n", ""), "qwen3coder") == expected
    assert parse_all_ways(text.replace("\n</tool_call>", ""), "qwen3coder") == expected
    twice = Parsed(calls=expected.calls * 2)
    assert parse_all_ways(f"{text}\n{text}", "qwen3coder") == twice


@pytest.mark.parametrize(
    "value",
    [
        'print("</parameter>")',
        "a </function> b",
        "<tool_call> or </tool_call>.",
        "<parameter=x> and <parameter=city>, <function=f>",
        "</parameter",
        "\n</parameter>\nx",
    ],
)
def test_a_tag_in_a_value_is_text_unless_another_tag_follows(value):
    parsed = parse_all_ways(call(("city", value), ("days", "3")), "qwen3coder")
    ((name, arguments),) = parsed.calls
    assert (name, json.loads(arguments)) == ("get_weather", {"city": value, "days": 3})


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
