import json

import pytest
from support.parsing import Parsed, parse_all_ways

from calculators.output_parsers.families.llama3 import Llama3ToolParser

CALL = '{"name": "get_weather", "parameters": {"city": "Paris; {"}}'
WEATHER = ("get_weather", '{"city": "Paris; {"}')


@pytest.mark.parametrize("tag", ["<|python_tag|>", "", "\n\n"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_calls_with_and_without_the_tag(tag, count):
    text = tag + "; ".join([CALL] * count)
    assert parse_all_ways(text, "llama3") == Parsed(calls=[WEATHER] * count)


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
