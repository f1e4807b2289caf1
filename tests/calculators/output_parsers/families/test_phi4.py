import json

import pytest
from support.parsing import Parsed, parse_all_ways

from calculators.output_parsers.families.phi4 import Phi4ToolParser

CALL = '{"name": "f", "arguments": {"a": ["]", {"b": 1}]}}'
MADE = ("f", '{"a": ["]", {"b": 1}]}')


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"functools[{CALL}]", 1),
        (f" functools [ {CALL} , {CALL},{CALL} ] ", 3),
        (f"functools[{CALL}", 1),
        (f"functools[{CALL}]functools[{CALL}]", 2),
    ],
)
def test_calls_in_a_list(text, count):
    assert parse_all_ways(text, "phi4") == Parsed(calls=[MADE] * count)


def test_text_before_and_after():
    text = f"Now:\nfunctools[{CALL}]\nDone."
    assert parse_all_ways(text, "phi4") == Parsed("Now:Done.", calls=[MADE])


@pytest.mark.parametrize(
    "text", ["Python has functools.", "functools", "functools[1, 2]", "functools[]", f"[{CALL}]"]
)
def test_what_is_no_call_is_content(text):
    assert parse_all_ways(text, "phi4") == Parsed(text)


def test_arguments_that_break_stay_with_their_call():
    text = 'functools[{"name": "f", "arguments": {"a": [1, }]}]'
    assert parse_all_ways(text, "phi4") == Parsed(calls=[("f", '{"a": [1, }]}]')])


def test_the_frame_makes_what_the_parser_reads():
    frame = Phi4ToolParser.frame
    arguments = json.dumps({"city": "Paris"})
    call = f"{frame.before_name}f{frame.before_arguments}{arguments}{frame.after_arguments}"
    text = frame.begin + frame.between.join([call, call]) + frame.end
    assert parse_all_ways(text, "phi4") == Parsed(calls=[("f", arguments)] * 2)
