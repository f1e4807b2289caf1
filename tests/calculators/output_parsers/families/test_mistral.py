import json

import pytest
from support.parsing import Parsed, parse_all_ways

from calculators.output_parsers.families.devstral import DevstralToolParser

ARGUMENTS = '{"city": "Paris [TOOL_CALLS]", "days": [1, 2]}'
CALL = f'{{"name": "get_weather", "arguments": {ARGUMENTS}}}'
WEATHER = ("get_weather", ARGUMENTS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"[TOOL_CALLS][{CALL}]", 1),
        (f"[TOOL_CALLS] [{CALL}, {CALL}]", 2),
        (f"[{CALL},{CALL}]", 2),
        (f"[TOOL_CALLS]get_weather{ARGUMENTS}", 1),
        (f"[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}", 2),
        (f"[TOOL_CALLS]get_weather[CALL_ID]aB3456789[ARGS]{ARGUMENTS}", 1),
    ],
)
def test_all_forms_of_calls(text, count):
    assert parse_all_ways(text, "mistral") == Parsed(calls=[WEATHER] * count)


@pytest.mark.parametrize("parser", ["mistral", "devstral"])
def test_text_before_a_call(parser):
    text = f"Let me look.\n[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}"
    assert parse_all_ways(text, parser) == Parsed("Let me look.", calls=[WEATHER])


@pytest.mark.parametrize("parser", ["mistral", "devstral"])
@pytest.mark.parametrize(
    "text",
    [
        "[1] A footnote",
        "Hello [ARGS]{}",
        "[TOOL_CALLS]",
        "[TOOL_CALLS]I would call it",
        "[TOOL_CALLS][1, 2]",
        "[TOOL_CALLS]f[ARGS]",
        "[TOOL_CALLS]f[ARGS]text",
        "[TOOL_CALLS]f[CALL_ID]abc{}",
        "[TOOL_CALLS]f[ARGS][ARGS]{}",
        "[TOOL_CALLS]" + "f" * 400,
    ],
)
def test_what_is_no_call_is_content(parser, text):
    assert parse_all_ways(text, parser) == Parsed(text)


def test_arguments_that_break_stay_with_their_call():
    text = f"[TOOL_CALLS]f[ARGS]{{oops}}[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}"
    assert parse_all_ways(text, "devstral") == Parsed(calls=[("f", "{oops}"), WEATHER])


def test_the_frame_makes_what_the_parser_reads():
    frame = DevstralToolParser.frame
    arguments = json.dumps({"city": "Paris"})
    call = f"{frame.before_name}f{frame.before_arguments}{arguments}{frame.after_arguments}"
    text = frame.begin + frame.between.join([call, call]) + frame.end
    assert parse_all_ways(text, "devstral") == Parsed(calls=[("f", arguments)] * 2)
