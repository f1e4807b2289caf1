"""JSON calls in the tags of each family; what is common to all of them is tested with Hermes."""

import pytest
from support.parsing import Parsed, parse_all_ways

ONE = '{"city": "Zürich </x> \\"}]\\""}'
CALL = f'{{"name": "get_weather", "arguments": {ONE}}}'
BARE = '{"name": "f"}'
ACTION = '{"tool_call_id": "0", "tool_name": "%s", "parameters": %s}'

LISTS = {
    "granite": ("<|tool_call|>", ""),
    "nemotron": ("<TOOLCALL>", "</TOOLCALL>"),
    "hunyuan_a13b": ("<tool_calls>", "</tool_calls>"),
    "xlam": ("<tool_call>", "</tool_call>"),
    "phi4": ("<|tool_call|>", "<|/tool_call|>"),
    "ernie45": ("<tool_call>", "</tool_call>"),
    "granite4": ("<tool_call>", "</tool_call>"),
    "internlm": ("<|action_start|><|plugin|>", "<|action_end|>"),
}


@pytest.mark.parametrize("family", LISTS)
@pytest.mark.parametrize("separator", [", ", ",", "\n", "; "])
def test_a_list_of_calls(family, separator):
    begin, end = LISTS[family]
    text = f"Look:\n{begin}[{CALL}{separator}{BARE}]{end}\n"
    calls = [("get_weather", ONE), ("f", "{}")]
    assert parse_all_ways(text, family) == Parsed("Look:", calls=calls)
    assert parse_all_ways(text.replace("[", "").replace("}}]", "}}"), family).calls == calls


@pytest.mark.parametrize("family", LISTS)
def test_calls_in_a_pair_of_tags_each(family):
    begin, end = LISTS[family]
    text = f"{begin}\n{CALL}\n{end}\n{begin}\n{BARE}\n{end}\nDone."
    calls = [("get_weather", ONE), ("f", "{}")]
    assert parse_all_ways(text, family) == Parsed("Done.", calls=calls)


@pytest.mark.parametrize("family", [*LISTS, "cohere"])
@pytest.mark.parametrize("inside", ["", "[]", "[1]", "no call", '[{"name": ""}]', '{"a": 1}'])
def test_what_is_no_call_is_content_with_its_tags(family, inside):
    begin, end = LISTS.get(family, ("<|START_ACTION|>", "<|END_ACTION|>"))
    text = f"Before {begin}{inside}{end} after"
    assert parse_all_ways(text, family) == Parsed(text)


def test_cohere_has_other_names():
    calls = ",\n".join([ACTION % ("get_weather", ONE), ACTION % ("f", "{}")])
    text = (
        f"<|START_THINKING|>I look.<|END_THINKING|><|START_ACTION|>[\n    {calls}\n]<|END_ACTION|>"
    )
    parsed = Parsed("", "I look.", [("get_weather", ONE), ("f", "{}")])
    assert parse_all_ways(text, "cohere", "cohere") == parsed


@pytest.mark.parametrize(
    "text",
    [f"[{CALL}, {BARE}]", f"```json\n[{CALL}, {BARE}]\n```", f"[TOOL_CALLS][{CALL}, {BARE}]"],
)
def test_xlam_has_many_forms(text):
    tools = tuple({"type": "function", "function": {"name": n}} for n in ("get_weather", "f"))
    calls = [("get_weather", ONE), ("f", "{}")]
    assert parse_all_ways(text, "xlam", tools=tools) == Parsed(calls=calls)


def test_a_bare_list_of_other_json_is_content():
    for text in ('[{"name": "Alice"}]', "[1, 2]", '[{"a": {"name": "f"}}]'):
        assert parse_all_ways(text, "xlam") == Parsed(text)


@pytest.mark.parametrize(
    ("family", "begin", "end"),
    [
        ("granite", "<response>", "</response>"),
        ("ernie45", "<response>", "</response>"),
        ("hunyuan_a13b", "<answer>", "</answer>"),
        ("cohere", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
        ("cohere", "<|START_TEXT|>", "<|END_TEXT|>"),
    ],
)
def test_an_answer_in_tags(family, begin, end):
    think, thought = "<think>", "</think>"
    if family == "cohere":
        think, thought = "<|START_THINKING|>", "<|END_THINKING|>"
    reasoning = f"{think}\nHm.\n{thought}\n\n"
    for text in (f"{begin}\nIt is {end} so.\n{end}\n", f"{begin}It is {end} so."):
        parsed = parse_all_ways(reasoning + text, "none", family)
        assert parsed == Parsed(f"It is {end} so.", "Hm.")
    assert parse_all_ways(f"It is {end}", "none", family) == Parsed(f"It is {end}")
    assert parse_all_ways(f"{begin}It", "none", family) == Parsed("It")
    assert parse_all_ways(begin, "none", family) == Parsed("")


def test_tool_calls_before_or_behind_the_end_of_an_answer():
    call = f"<tool_call>\n{CALL}\n</tool_call>"
    parsed = Parsed("Look.", "Hm.", [("get_weather", ONE)])
    for text in (f"Look.\n{call}\n</response>", f"Look.\n</response>\n\n{call}"):
        answer = f"<think>Hm.</think><response>{text}"
        assert parse_all_ways(answer, "ernie45", "ernie45") == parsed


def test_granite_thinks_in_sentences():
    text = "Here is my thought process: Hm.\n\nHere is my response:\nYes."
    assert parse_all_ways(text, "none", "granite") == Parsed("Yes.", "Hm.")
    assert parse_all_ways("Here is my cat.", "none", "granite") == Parsed("Here is my cat.")
