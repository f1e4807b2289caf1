"""Tags around names, keys and values; what is common to all of them is tested with Qwen 3 Coder."""

import json

import pytest
from support.parsing import Parsed, parse_all_ways


def glm(line, *parameters):
    body = "".join(
        f"<arg_key>{key}</arg_key>{line}<arg_value>{value}</arg_value>{line}"
        for key, value in parameters
    )
    return f"<tool_call>get_weather{line}{body}</tool_call>"


def minimax(line, *parameters):
    body = "".join(
        f'<parameter name="{key}">{value}</parameter>{line}' for key, value in parameters
    )
    return f'<invoke name="get_weather">{line}{body}</invoke>'


def dsml(line, *parameters):
    body = "".join(
        f'<｜DSML｜parameter name="{key}" string="{str(key == "city").lower()}">{value}'
        f"</｜DSML｜parameter>{line}"
        for key, value in parameters
    )
    return f'<｜DSML｜invoke name="get_weather">{line}{body}</｜DSML｜invoke>'


def seed(line, *parameters):
    body = "".join(f"<parameter={key}>{value}</parameter>{line}" for key, value in parameters)
    return f"<function=get_weather>{line}{body}</function>"


FORMS = [
    ("glm45", glm, "", ""),
    ("minimax_m2", minimax, "<minimax:tool_call>", "</minimax:tool_call>"),
    ("deepseek_v32", dsml, "<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
    ("deepseek_v4", dsml, "<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
    ("seed_oss", seed, "<seed:tool_call>", "</seed:tool_call>"),
]
all_forms = pytest.mark.parametrize(
    ("family", "write", "begin", "end"), FORMS, ids=[form[0] for form in FORMS]
)


def read(parsed):
    return [(name, json.loads(arguments)) for name, arguments in parsed.calls]


@all_forms
@pytest.mark.parametrize("line", ["\n", ""])
def test_calls(family, write, begin, end, line):
    first = write(line, ("city", '\nZürich "x" <b>'), ("days", "3"), ("places", '["a"]'))
    second = write(line)
    text = f"Look:\n{begin}{line}{first}{line}{second}{line}{end}\n"
    parsed = parse_all_ways(text, family)
    assert parsed.content == "Look:"
    arguments = {"city": '\nZürich "x" <b>', "days": 3, "places": ["a"]}
    assert read(parsed) == [("get_weather", arguments), ("get_weather", {})]
    assert parse_all_ways(f"Look: {first}{second}", family) == parsed


@all_forms
def test_text_around_calls(family, write, begin, end):
    call = write("\n", ("city", "a"))
    parsed = parse_all_ways(f"{begin}{call}{end} and {begin}{call} oh {end} Done.", family)
    assert parsed.content == "andoh  Done."
    assert read(parsed) == [("get_weather", {"city": "a"})] * 2


@all_forms
@pytest.mark.parametrize("inside", ["", "no call", '{"name": "f"}', "\n\n", "two words\n"])
def test_what_is_no_call_is_content(family, write, begin, end, inside):
    begin, end = begin or "<tool_call>", end or "</tool_call>"
    text = f"Before {begin}{inside}{end} after"
    assert parse_all_ways(text, family) == Parsed(text)


@all_forms
def test_a_value_without_an_end_ends_at_the_next_tag(family, write, begin, end):
    whole = begin + write("", ("city", "Paris"), ("days", "3")) + end
    for tag in ("</parameter>", "</arg_value>", "</｜DSML｜parameter>"):
        whole = whole.replace(tag, "")
    assert read(parse_all_ways(whole, family)) == [("get_weather", {"city": "Paris", "days": 3})]


def test_deepseek_says_what_is_a_string():
    text = dsml("\n", ("city", "3"), ("other", "3"), ("days", '"three"'))
    assert read(parse_all_ways(text, "deepseek_v32")) == [
        ("get_weather", {"city": "3", "other": 3, "days": "three"})
    ]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("<![CDATA[<b>\n</param> ]] ]]>", "<b>\n</param> ]] "),
        ("<![CDATA[]]>", ""),
        ("<![CDAT", "<![CDAT"),
        ("a <![CDATA[b]]>", "a <![CDATA[b]]>"),
    ],
)
def test_minicpm_writes_cdata(value, read):
    text = f'<function name="f"><param name="city">{value}</param></function>'
    ((_, arguments),) = parse_all_ways(text, "minicpm5").calls
    assert json.loads(arguments) == {"city": read}
    text = '<function name="get_weather"><param name="places"><![CDATA[["<"]]]></param></function>'
    ((_, arguments),) = parse_all_ways(text, "minicpm5").calls
    assert json.loads(arguments) == {"places": ["<"]}


@pytest.mark.parametrize(("family", "write", "begin", "end"), FORMS[:3])
def test_reasoning(family, write, begin, end):
    text = f"Hm.</think>\n\n{begin}{write('', ('city', 'a'))}{end}"
    parsed = parse_all_ways(text, family, family, prompt="<think>\n")
    assert (parsed.content, parsed.reasoning) == ("", "Hm.")
    assert read(parsed) == [("get_weather", {"city": "a"})]
