import pytest
from support.parsing import Parsed, parse_all_ways

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "<think>"}}\n</tool_call>'


def test_reasoning_before_the_answer():
    text = "<think>\nLet me see.\n\nIt is 4.\n</think>\n\nThe answer is 4.\n"
    assert parse_all_ways(text, "none", "qwen3") == Parsed(
        "The answer is 4.\n", "Let me see.\n\nIt is 4."
    )


@pytest.mark.parametrize("prompt", ["<|im_start|>assistant\n<think>\n", "<think>"])
def test_reasoning_that_the_prompt_has_begun(prompt):
    parsed = parse_all_ways("Let me see.\n</think>\n\nFour.", "none", "qwen3", prompt=prompt)
    assert parsed == Parsed("Four.", "Let me see.")


@pytest.mark.parametrize("prompt", ["", "<think>\n\n</think>\n\n", "What is <think> for?"])
@pytest.mark.parametrize(
    "text", ["Four.", " A <think>tag</think> in the text", "<thin", "</think>"]
)
def test_a_text_without_reasoning(prompt, text):
    assert parse_all_ways(text, "none", "qwen3", prompt=prompt) == Parsed(text)


@pytest.mark.parametrize("text", ["<think>\n\n</think>\n\nFour.", "<think></think>Four."])
def test_empty_reasoning(text):
    assert parse_all_ways(text, "none", "qwen3") == Parsed("Four.")


def test_reasoning_that_is_cut_off_is_reasoning():
    text = "<think>\nLet me see, one and one"
    assert parse_all_ways(text, "none", "qwen3") == Parsed("", "Let me see, one and one")


def test_tool_calls_behind_reasoning():
    parsed = parse_all_ways(f"<think>\nI call {CALL}\n</think>\n\n{CALL}", "hermes3", "qwen3")
    assert parsed == Parsed("", f"I call {CALL}", [("f", '{"a": "<think>"}')])
