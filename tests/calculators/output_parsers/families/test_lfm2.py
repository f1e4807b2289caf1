import json

import pytest
from support.parsing import Parsed, parse, parse_all_ways

BEGIN, END = "<|tool_call_start|>", "<|tool_call_end|>"


@pytest.mark.parametrize(
    ("inside", "calls"),
    [
        ('[get_weather(city="Paris")]', [("get_weather", {"city": "Paris"})]),
        ("[f()]", [("f", {})]),
        (
            "[f(a=1, b=-2.5, c=True, d=None, e=['x', {'y': [1]}]), g.h(a='it\\'s ], (')]",
            [("f", {"a": 1, "b": -2.5, "c": True, "d": None, "e": ["x", {"y": [1]}]}),
             ("g.h", {"a": "it's ], ("})],
        ),
        ("[f(a=true, b=[null, false])]", [("f", {"a": True, "b": [None, False]})]),
        ('[get-weather(class="x", from=1, user-id=\'a\')]',
         [("get-weather", {"class": "x", "from": 1, "user-id": "a"})]),
        ("[f(code='if x:\n\ty = \"\\d\"', path='C:\\Users\\x')]",
         [("f", {"code": 'if x:\n\ty = "\\d"', "path": "C:\\Users\\x"})]),
        ("[f(path='C:\\'), g(text='it's, or isn't', n=1)]",
         [("f", {"path": "C:\\"}), ("g", {"text": "it's, or isn't", "n": 1})]),
        ("f(a='\\u00e9\\ud83d\\ude00\\x41\\ud800', b='x' 'y', c=r'\\n', d=(1,), e=0x1f)",
         [("f", {"a": "é😀A\ufffd", "b": "xy", "c": "\\n", "d": [1], "e": 31})]),
        ("f(a=\"\"\"x\n'y'\"\"\")\ng(b={'k': 1,},)",
         [("f", {"a": "x\n'y'"}), ("g", {"b": {"k": 1}})]),
        (' [f(a="\\d 日本 \\n")] ', [("f", {"a": "\\d 日本 \n"})]),
        (
            '[{"name": "f", "arguments": {"a": [true, null]}}, {"name": "g", "arguments": {}}]',
            [("f", {"a": [True, None]}), ("g", {})],
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", [END, ""])
def test_calls(inside, calls, end):
    parsed = parse_all_ways(f"Look:\n{BEGIN}{inside}{end}", "lfm2")
    assert parsed.content == "Look:"
    assert [(name, json.loads(arguments)) for name, arguments in parsed.calls] == calls


def test_text_after_calls():
    text = f"{BEGIN}[f()]{END}Checking.{BEGIN}[g()]{END}"
    assert parse_all_ways(text, "lfm2") == Parsed("Checking.", calls=[("f", "{}"), ("g", "{}")])


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "[]",
        "print()()",
        "[f(1)]",
        "[f(**{})]",
        "[f(a=g())]",
        "[f(a=x)]",
        "[f(a=b'x')]",
        "[f(a={1})]",
        "[f(a={[]: 1})]",
        "[f(a=1e999)]",
        "[f(a=1j)]",
        "[f()(a=1)]",
        "[f(a=1",
        "[{'name': 'f'}]",
        "[f(), 1]",
        "\x00",
    ],
)
def test_what_is_no_list_of_calls_is_content(inside):
    text = f"{BEGIN}{inside}{END}"
    assert parse_all_ways(text, "lfm2") == Parsed(text)


@pytest.mark.parametrize(
    "inside",
    [
        "[" * 100_000,
        f"[f(a={'[' * 3000}{']' * 3000})]",
        f"[f(a={'-' * 50_000}1)]",
        f"[{'f.' * 50_000}f()]",
        f"[f(a={'9' * 10_000})]",
    ],
    ids=len,
)
def test_what_python_itself_does_not_read_is_content(inside):
    text = f"{BEGIN}{inside}{END}"
    assert parse([text], "lfm2") == Parsed(text)


@pytest.mark.parametrize("prompt", ["", "<|im_start|>assistant\n<think>"])
def test_reasoning(prompt):
    text = "Hm.</think>\n\n" if prompt else "<think>Hm.</think>\n\n"
    parsed = parse_all_ways(f"{text}{BEGIN}[f()]{END}", "lfm2", "lfm2", prompt=prompt)
    assert parsed == Parsed("", "Hm.", [("f", "{}")])
