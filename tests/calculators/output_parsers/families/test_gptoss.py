import pytest
from support.parsing import Parsed, parse_all_ways

THINK = "<|channel|>analysis<|message|>Let me see.<|end|>"
FINAL = "<|channel|>final<|message|>It is sunny.\n"
CALL = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
ARGUMENTS = '{"city": "Paris"}'
NEXT = "<|start|>assistant"


def parse_harmony(text, **kwargs):
    return parse_all_ways(text, "gptoss", "gptoss", **kwargs)


def test_reasoning_and_answer():
    assert parse_harmony(f"{THINK}{NEXT}{FINAL}") == Parsed("It is sunny.\n", "Let me see.")


@pytest.mark.parametrize("end", ["", "<|call|>", "<|end|>", "<|return|>"])
def test_a_call(end):
    text = f"{THINK}{NEXT}{CALL}{ARGUMENTS}{end}"
    assert parse_harmony(text) == Parsed("", "Let me see.", [("get_weather", ARGUMENTS)])


@pytest.mark.parametrize(
    "head",
    [
        " to=functions.get_weather<|channel|>commentary json<|message|>",
        "<|channel|>commentary to=get_weather<|message|>",
        "<|channel|>analysis to=functions.get_weather code<|message|>",
    ],
)
def test_other_places_of_the_recipient(head):
    assert parse_harmony(f"{head}{ARGUMENTS}") == Parsed(calls=[("get_weather", ARGUMENTS)])


def test_a_preamble_and_several_calls():
    text = (
        f"{THINK}{NEXT}<|channel|>commentary<|message|>I look it up.<|end|>"
        f"{NEXT}{CALL}{ARGUMENTS}<|call|>{NEXT}{CALL}{{}}<|call|>"
    )
    assert parse_harmony(text) == Parsed(
        "I look it up.", "Let me see.", [("get_weather", ARGUMENTS), ("get_weather", "{}")]
    )


def test_messages_of_one_kind_are_separated():
    text = f"{THINK}{NEXT}{THINK}{NEXT}{FINAL}<|end|>{NEXT}{FINAL}"
    assert parse_harmony(text) == Parsed(
        "It is sunny.\n\nIt is sunny.\n", "Let me see.\nLet me see."
    )


def test_a_forgotten_end():
    text = f"{THINK.removesuffix('<|end|>')}{NEXT}{FINAL}"
    assert parse_harmony(text) == Parsed("It is sunny.\n", "Let me see.")


@pytest.mark.parametrize("text", ["Plain text", "to be or not", " < 3", "<|chan", "to"])
def test_a_text_without_heads_is_content(text):
    assert parse_harmony(text) == Parsed(text)


def test_a_message_to_nobody_known_is_content():
    text = "<|channel|>commentary to=browser.search<|message|>{}"
    assert parse_harmony(text) == Parsed("{}")


def test_without_tools_a_call_is_content():
    text = f"{THINK}{NEXT}{CALL}{ARGUMENTS}"
    assert parse_harmony(text, tools=()) == Parsed(ARGUMENTS, "Let me see.")


@pytest.mark.parametrize("end", ["", "<|call|>", "<|end|>"])
@pytest.mark.parametrize("message", ["", " ", "\n", "{}"])
def test_a_call_without_arguments(end, message):
    text = f"{THINK}{NEXT}{CALL}{message}{end}"
    assert parse_harmony(text) == Parsed("", "Let me see.", [("get_weather", "{}")])
    text = f"{CALL}{message}<|call|>{NEXT}{CALL}{ARGUMENTS}{end}"
    assert parse_harmony(text).calls == [("get_weather", "{}"), ("get_weather", ARGUMENTS)]


@pytest.mark.parametrize(
    "text", ["<|channel|>final: 5, 6", f"<|channel|>{'x' * 600}<|message|>y", "<|start|>\x00"]
)
def test_what_is_no_head_is_content(text):
    assert parse_harmony(text) == Parsed(text)


def test_reasoning_that_is_cut_off():
    assert parse_harmony("<|channel|>analysis<|message|>Let me") == Parsed("", "Let me")
    assert parse_harmony("<|channel|>analysis") == Parsed()
