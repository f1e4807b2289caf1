import json

import pytest
from support.parsing import Parsed, parse, parse_all_ways

from calculators.output_parsers.families.hermes3 import Hermes3ToolParser

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER = ("get_weather", '{"city": "Paris"}')


def test_a_text_without_a_call_is_content():
    text = "  Hello <b>world</b> <tool </tool_call> \n\n"
    assert parse_all_ways(text, "hermes3") == Parsed(text)


def test_a_call_and_nothing_else():
    assert parse_all_ways(CALL, "hermes3") == Parsed(calls=[WEATHER])


def test_space_around_calls_belongs_to_no_content():
    parsed = parse_all_ways(f"\n\n{CALL}\n{CALL}\n", "hermes3")
    assert parsed == Parsed(calls=[WEATHER, WEATHER])


@pytest.mark.parametrize("separator", ["\n", ", ", ";", ""])
def test_several_calls_in_one_pair_of_tags(separator):
    text = separator.join(['{"name": "f", "arguments": {}}'] * 2)
    expected = Parsed(calls=[("f", "{}")] * 2)
    assert parse_all_ways(f"<tool_call>{text}</tool_call>", "hermes3") == expected
    assert parse_all_ways(f"<tool_call>[{text}]</tool_call>", "hermes3") == expected


def test_text_before_between_and_after_calls():
    parsed = parse_all_ways(f"One moment.\n{CALL}\nAnd:\n{CALL} Done. \n", "hermes3")
    assert parsed == Parsed("One moment.And:Done. \n", calls=[WEATHER, WEATHER])


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        '{"a": {"b": [{"c": "}"}, "]", "</tool_call>"]}, "d": "\\"}{"}',
        '{"city": "Z\\u00fcrich", "name": "\\ud83d\\ude00 日本語"}',
        '{ "n":1.5e3 ,"t" :true,\n"x": null }',
        '{"code": "print(\\"<tool_call>\\")\\n"}',
    ],
)
def test_arguments_come_exactly_as_the_model_wrote_them(arguments):
    text = f'<tool_call>{{"name": "run", "arguments": {arguments}}}</tool_call>'
    assert parse_all_ways(text, "hermes3") == Parsed(calls=[("run", arguments)])


@pytest.mark.parametrize(
    ("members", "call"),
    [
        ('"arguments": {"a": 1}, "name": "f"', ("f", '{"a": 1}')),
        (
            '"id": [1, {"name": 2}], "name": "f", "arguments": {"a": 1}, "x": null',
            ("f", '{"a": 1}'),
        ),
        ('"name": "f"', ("f", "{}")),
        ('"name": "f", "arguments": null', ("f", "{}")),
        ('"name": "f", "arguments": " "', ("f", "{}")),
        ('"name": "f", "arguments": []', ("f", "{}")),
        ('"type": "function", "name": " f "', ("f", "{}")),
        ('"name": "f", "arguments": "{\\"a\\": \\"\\u00e9\\"}"', ("f", '{"a": "é"}')),
        ('"name": "f", "parameters": {"a": 1}', ("f", '{"a": 1}')),
        ('"name": "g\\u00e9\\"t", "arguments": {}', ('gé"t', "{}")),
    ],
)
def test_other_forms_of_the_object(members, call):
    text = f"<tool_call>{{{members}}}</tool_call>"
    assert parse_all_ways(text, "hermes3") == Parsed(calls=[call])


@pytest.mark.parametrize(
    "inside",
    [
        "not JSON",
        "",
        "{}",
        "[]",
        '{"name": 1, "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": "no object"}',
        '{"name": "f", "arguments": "{} {}"}',
        '{"arguments": {"a": 1}}',
        '{"name": "f", "city": "Paris"}',
        '{"name": "f" "arguments": {}}',
        '{"name": "f", arguments: {}}',
        '{{"name": "f"}}',
    ],
)
def test_what_is_no_call_is_content_with_its_tags(inside):
    text = f"Before <tool_call>{inside}</tool_call> after"
    assert parse_all_ways(text, "hermes3") == Parsed(text)
    parsed = parse_all_ways(f"{text}{CALL}", "hermes3")
    assert parsed == Parsed(text, calls=[WEATHER])


def test_arguments_that_break_in_the_middle_stay_as_they_are():
    text = '<tool_call>{"name": "f", "arguments": {"a": oops}}\n</tool_call>'
    parsed = parse_all_ways(f"{text}{CALL}", "hermes3")
    assert parsed == Parsed(calls=[("f", '{"a": oops}}\n'), WEATHER])


def test_line_breaks_that_were_not_escaped():
    code = '{"code": "if x:\n    y"}'
    text = f'<tool_call>{{"name": "run", "arguments": {code}}}</tool_call>'
    parsed = parse_all_ways(text, "hermes3")
    assert [(name, json.loads(arguments)) for name, arguments in parsed.calls] == [
        ("run", {"code": "if x:\n    y"})
    ]


@pytest.mark.parametrize("after", ["}", " and more"])
def test_what_follows_the_object_in_the_tags_is_content(after):
    text = f'<tool_call>{{"name": "f", "arguments": {{}}}}{after}'
    assert parse_all_ways(text, "hermes3") == Parsed(after.lstrip(), calls=[("f", "{}")])


@pytest.mark.parametrize("frame", ["", "\n", ", oops}", "</tool"])
def test_a_frame_that_ends_wrongly_does_no_harm_to_a_whole_call(frame):
    text = f'<tool_call>{{"name": "f", "arguments": {{"a": 1}}{frame}'
    assert parse_all_ways(text, "hermes3").calls == [("f", '{"a": 1}')]


def test_a_forgotten_end_tag():
    text = CALL.removesuffix("</tool_call>") + CALL
    assert parse_all_ways(text, "hermes3") == Parsed(calls=[WEATHER, WEATHER])


def test_a_call_that_is_cut_off_at_any_place():
    begun = CALL.index('{"city"')
    for length in range(1, len(CALL)):
        text = CALL[:length]
        parsed = parse_all_ways(text, "hermes3")
        if length <= begun:
            assert parsed == Parsed(text)
        else:
            arguments = CALL[begun:length][: len(WEATHER[1])]
            assert parsed == Parsed(calls=[("get_weather", arguments)])


def test_arguments_are_streamed_as_they_come():
    parser_input = [CALL[: CALL.index("Par")], "Par", "is", '"}}', "\n</tool_call>"]
    shown = [parse(parser_input[:count], "hermes3").calls for count in range(1, 6)]
    assert shown == [
        [("get_weather", '{"city": "')],
        [("get_weather", '{"city": "Par')],
        [("get_weather", '{"city": "Paris')],
        [WEATHER],
        [WEATHER],
    ]


def test_arguments_nested_without_end():
    arguments = '{"a": ' + "[" * 50_000
    parsed = parse([f'<tool_call>{{"name": "f", "arguments": {arguments}'], "hermes3")
    assert parsed == Parsed(calls=[("f", arguments)])


def test_the_frame_makes_what_the_parser_reads():
    frame = Hermes3ToolParser.frame
    arguments = json.dumps({"city": "Paris"})
    call = f"{frame.before_name}f{frame.before_arguments}{arguments}{frame.after_arguments}"
    text = frame.begin + frame.between.join([call, call]) + frame.end
    assert parse_all_ways(text, "hermes3") == Parsed(calls=[("f", arguments)] * 2)
