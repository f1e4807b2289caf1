import json

import pytest
from support.parsing import Parsed, parse_all_ways

CALLS = """[get_weather(city="]) [", n=1), get-it.now(class='it\\'s', d={"a": [True, None]})]"""
READ = [
    ("get_weather", {"city": "]) [", "n": 1}),
    ("get-it.now", {"class": "it's", "d": {"a": [True, None]}}),
]


def read(parsed):
    return [(name, json.loads(arguments)) for name, arguments in parsed.calls]


@pytest.mark.parametrize(
    "text", [CALLS, f"\n{CALLS}\n", f"<|python_start|>{CALLS}<|python_end|>", CALLS[:-1]]
)
def test_calls_with_and_without_tags(text):
    parsed = parse_all_ways(text, "pythonic")
    assert (parsed.content, read(parsed)) == ("", READ)


def test_text_around_calls():
    parsed = parse_all_ways(f"{CALLS}\n[f()] Done. [g()]", "pythonic")
    assert (parsed.content, read(parsed)) == ("Done. [g()]", [*READ, ("f", {})])
    parsed = parse_all_ways(f"Look: <|python_start|>{CALLS}<|python_end|>", "pythonic")
    assert (parsed.content, read(parsed)) == ("Look:", READ)


@pytest.mark.parametrize(
    "text",
    ["[1] is a source", "[", "[f", "[f(", "[f(1)]", "[f(a=g())] x", " [f(a='x]", "[]", "(f())"],
)
def test_what_is_no_call_is_content(text):
    assert parse_all_ways(text, "pythonic") == Parsed(text)


@pytest.mark.parametrize("inside", [CALLS, CALLS[1:-1], CALLS[1:-1].replace("), ", ")\n")])
def test_olmo_has_lines_in_tags(inside):
    text = f"<think>Hm.</think>Look:\n<function_calls>\n{inside}\n</function_calls>"
    parsed = parse_all_ways(text, "olmo3", "olmo3")
    assert (parsed.content, parsed.reasoning, read(parsed)) == ("Look:", "Hm.", READ)


def test_a_quote_that_is_not_escaped():
    parsed = parse_all_ways("[f(a='it's, or isn't', b=1)]", "pythonic")
    assert read(parsed) == [("f", {"a": "it's, or isn't", "b": 1})]
