import json

import pytest
from support.parsing import Parsed, parse_all_ways

from calculators.output_parsers.families.llama3 import Llama3ToolParser

CALL = '{"name": "get_weather", "parameters": {"city": "Paris; {"}}'
WEATHER = ("get_weather", '{"city": "Paris; {"}')


@pytest.mark.parametrize("tag", ["<|python_tag|>", "", "\n\n"])
@pytest.mark.parametrize("separator", ["; ", ";", ", ", "\n", "\n\n", " ,\n", ""])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_calls_with_and_without_the_tag(tag, separator, count):
    text = separator.join([CALL] * count)
    assert parse_all_ways(tag + text, "llama3") == Parsed(calls=[WEATHER] * count)
    assert parse_all_ways(f"{tag}[{text}]", "llama3") == Parsed(calls=[WEATHER] * count)


def test_a_bare_call_without_arguments_is_one_of_a_known_tool():
    expected = Parsed(calls=[("get_weather", "{}")])
    assert parse_all_ways('{"name": "get_weather"}', "llama3") == expected
    assert parse_all_ways('<|python_tag|>{"name": "f"}', "llama3") == Parsed(calls=[("f", "{}")])


@pytest.mark.parametrize("after", [", and", "; or", " {", "]", ",", "[1]"])
def test_text_after_calls(after):
    assert parse_all_ways(CALL + after, "llama3") == Parsed(after.lstrip(), calls=[WEATHER])


def test_the_other_name_of_the_arguments():
    text = '<|python_tag|>{"name": "f", "arguments": {"a": 1}}'
    assert parse_all_ways(text, "llama3") == Parsed(calls=[("f", '{"a": 1}')])


def test_text_before_the_tag():
    text = f"Let me look.\n<|python_tag|>{CALL}"
    assert parse_all_ways(text, "llama3") == Parsed("Let me look.", calls=[WEATHER])


@pytest.mark.parametrize(
    "text",
    [
        "Hello {world}",
        '{"city": "Paris", "name": "a name"}',
        '{"name": "Alice"}',
        "{1, 2}",
        '<|python_tag|>brave_search.call(query="weather")',
        "<|python_tag|>",
        f"Like this: {CALL}",
    ],
)
def test_what_is_no_call_is_content(text):
    assert parse_all_ways(text, "llama3") == Parsed(text)


def test_the_frame_makes_what_the_parser_reads():
    frame = Llama3ToolParser.frame
    arguments = json.dumps({"city": "Paris"})
    call = f"{frame.before_name}f{frame.before_arguments}{arguments}{frame.after_arguments}"
    text = frame.begin + frame.between.join([call, call]) + frame.end
    assert parse_all_ways(text, "llama3") == Parsed(calls=[("f", arguments)] * 2)
