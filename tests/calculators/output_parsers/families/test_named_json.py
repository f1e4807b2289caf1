"""The name between tags, JSON behind it: DeepSeek, Kimi and functionary."""

import pytest
from support.parsing import Parsed, parse, parse_all_ways

BEGIN, END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
KIMI_BEGIN, KIMI_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
ARGUMENTS = '{"city": "{<|tool_call_end|>} ```", "n": {"a": []}}'


def v3(name, arguments):
    return f"{CALL}function{SEPARATOR}{name}\n```json\n{arguments}\n```{CALL_END}"


def v31(name, arguments):
    return f"{CALL}{name}{SEPARATOR}{arguments}{CALL_END}"


def kimi(name, arguments, number=0):
    head = f"<|tool_call_begin|>functions.{name}:{number}<|tool_call_argument_begin|>"
    return f"{head}{arguments}<|tool_call_end|>"


def v32(name, arguments):
    return f">>>{name}\n{arguments}"


def functionary_v31(name, arguments):
    return f"<function={name}>{arguments}</function>"


FORMS = [
    ("deepseek_v3", v3, BEGIN, END),
    ("deepseek_v31", v31, BEGIN, END),
    ("kimi_k2", kimi, KIMI_BEGIN, KIMI_END),
    ("functionary_v31", functionary_v31, "", ""),
    ("functionary_v32", v32, "", ""),
]
all_forms = pytest.mark.parametrize(
    ("family", "write", "begin", "end"), FORMS, ids=[form[0] for form in FORMS]
)


@all_forms
@pytest.mark.parametrize("between", ["", "\n"])
def test_calls(family, write, begin, end, between):
    calls = [("get_weather", ARGUMENTS), ("get-it.now", "{}"), ("get_weather", "{}")]
    written = between.join(write(*call) for call in calls)
    text = f"Look:\n{begin}{between}{written}{between}{end}"
    assert parse_all_ways(text, family) == Parsed("Look:", calls=calls)
    assert parse_all_ways(text.removesuffix(end), family) == Parsed("Look:", calls=calls)
    assert parse_all_ways(f"Look: {written}", family) == Parsed("Look:", calls=calls)


@pytest.mark.parametrize(("family", "write", "begin", "end"), FORMS[:4])
def test_a_call_without_arguments(family, write, begin, end):
    text = f"{begin}{write('f', '')}{write('g', ARGUMENTS)}{end}"
    assert parse_all_ways(text, family) == Parsed(calls=[("f", "{}"), ("g", ARGUMENTS)])


@all_forms
def test_text_between_and_after_calls(family, write, begin, end):
    text = f"{begin}{write('f', '{}')} and {write('g', '{}')}{end} Done."
    parsed = parse_all_ways(text, family)
    assert parsed == Parsed("andDone.", calls=[("f", "{}"), ("g", "{}")])


@all_forms
def test_a_call_that_is_cut_off_at_any_place(family, write, begin, end):
    text = begin + write("get_weather", ARGUMENTS) + end
    begun, complete = text.index("{"), text.index(ARGUMENTS) + len(ARGUMENTS)
    for length in range(len(text)):
        parsed = parse(text[:length], family)
        assert parsed == parse([text[:length]], family)
        if length <= begun:
            assert parsed == Parsed(text[:length])
        else:
            assert parsed == Parsed(calls=[("get_weather", text[begun : min(length, complete)])])


@pytest.mark.parametrize("text", ["{}", f"{BEGIN}{END}", f"{CALL}{CALL_END}", f"a {CALL} b c {{}}",
                                  f"{BEGIN}no call{END}", f"{CALL}{'x' * 400}{{}}"])  # fmt: skip
def test_what_is_no_call_is_content(text):
    assert parse_all_ways(text, "deepseek_v3") == Parsed(text)


@all_forms
def test_arguments_that_break_stay_as_they_are(family, write, begin, end):
    text = f"{begin}{write('f', '{oops}')}{write('g', '{}')}{end}"
    parsed = parse_all_ways(text, family)
    assert [name for name, _ in parsed.calls] == ["f", "g"]
    assert parsed.calls[0][1].startswith("{oops}")
    assert parsed.content == ""


def test_kimi_may_call_without_ending_its_reasoning():
    text = f"<think>Hm. {KIMI_BEGIN}{kimi('f', '{}', 3)}{KIMI_END}"
    assert parse_all_ways(text, "kimi_k2", "kimi_k2") == Parsed("", "Hm.", [("f", "{}")])


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("all\nHello\n{}", Parsed("Hello\n{}")),
        ("get_weather\n{}", Parsed(calls=[("get_weather", "{}")])),
        ("all\nLook:>>>get_weather\n{}", Parsed("Look:", calls=[("get_weather", "{}")])),
        ("get_weather\nis a tool", Parsed("get_weather\nis a tool")),
        ("other\n{}", Parsed("other\n{}")),
        ("al", Parsed("al")),
        (">>> print(1)", Parsed(">>> print(1)")),
    ],
)
def test_functionary_answers_behind_the_mark_of_the_prompt(text, parsed):
    assert parse_all_ways(text, "functionary_v32") == parsed
