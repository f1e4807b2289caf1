"""Tool calls as chat templates write them, read back."""

import json

import pytest
from support.family_templates import REASONING, TOOL_CALLS, write_calls
from support.parsing import WEATHER_TOOL, Parsed, parse, parse_all_ways

from calculators.output_parsers import parser_names
from calculators.output_parsers.registry import families

ALL = {
    "city": 'Zürich 日本 😀 "quoted" \\d, a=b: {c} [d] <e>\n\n  f',
    "days": -3,
    "exact": True,
    "places": ["a", "b, c", ""],
    "nothing": None,
    "ratio": 1.5,
    "deep": {"k": {"z": [1, {}, {"q": [[], "x"]}], "t": "true", "n": "5"}},
}
PARAMETERS = {
    "type": "object",
    "properties": {
        **WEATHER_TOOL["function"]["parameters"]["properties"],
        "nothing": {"type": ["integer", "null"]},
        "ratio": {"type": "number"},
        "deep": {"type": "object"},
        "user-id": {"type": "string"},
        "class": {"type": "string"},
    },
}
NAMES = ("get_weather", "get-it.now", "f")
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in NAMES
)
CALLS = [
    [("get_weather", ALL)],
    [("f", {})],
    [("get_weather", ALL), ("get-it.now", {"city": "5"}), ("f", {})],
    [("f", {}), ("f", {}), ("get_weather", {"city": "null", "user-id": "", "class": "x"})],
    [("f", {"city": " \n two \n lines \n "})],
    [("f", {"city": "[1, 2]", "places": []}), ("f", {"city": "{}", "places": ["{"], "days": 0})],
]
all_families = pytest.mark.parametrize("family", TOOL_CALLS)


def names_of(family):
    return family, family if families()[family].reasoning_parser is not None else "none"


def read(parsed):
    return [(name, json.loads(arguments)) for name, arguments in parsed.calls]


def test_every_family_has_a_template():
    assert {*TOOL_CALLS} == {*parser_names("tool_parser")}


@all_families
@pytest.mark.parametrize("calls", CALLS)
def test_calls(family, calls):
    text = write_calls(family, calls)
    parsed = parse(text, *names_of(family), tools=TOOLS)
    assert (read(parsed), parsed.content) == (calls, "")
    assert parse([text], *names_of(family), tools=TOOLS) == parsed


@all_families
def test_reasoning_and_calls(family):
    tool_parser, reasoning_parser = names_of(family)
    begin, end = REASONING.get(family, ("<think>\n", "\n</think>\n\n"))
    if reasoning_parser == "none":
        begin = end = ""
    text = f"{begin}I look.{end}{write_calls(family, CALLS[3])}"
    if not begin:
        text = text.removeprefix("I look.")
    parsed = parse_all_ways(text, tool_parser, reasoning_parser, tools=TOOLS)
    assert read(parsed) == CALLS[3]
    assert (parsed.content, parsed.reasoning) == ("", "I look." if begin else "")


@all_families
def test_a_call_that_is_cut_off_invents_nothing(family):
    text = write_calls(family, [("get_weather", {"city": "Paris", "days": 3}), ("f", {})])
    whole = parse([text], *names_of(family), tools=TOOLS)
    for length in range(len(text)):
        parsed = parse([text[:length]], *names_of(family), tools=TOOLS)
        assert parsed == parse(text[:length], *names_of(family), tools=TOOLS)
        if parsed.content:
            assert text[:length].strip().endswith(parsed.content.strip())
        for (name, arguments), (real_name, real_arguments) in zip(
            parsed.calls, whole.calls, strict=False
        ):
            assert name == real_name
            if family == "gptoss" and arguments == "{}":
                continue  # A call without arguments has no other end.
            assert real_arguments.startswith(arguments)
    assert whole == Parsed(calls=whole.calls)
