"""Prompts that end inside the last message; transformers' apply_chat_template is the reference."""

import pytest
from support.chat_templates import GENERIC, PARTS

from server.errors import InvalidRequestError

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
TRIMMED = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}"
START = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize("source", [PLAIN, TRIMMED])
@pytest.mark.parametrize("text", ["The answer", "The answer ", "  The\n", "Hi", "<user>", "é漢"])
def test_the_prompt_is_that_of_transformers(byte_level, render, source, text):
    messages = [START, {"role": "assistant", "content": text}]
    expected = byte_level.hf.apply_chat_template(
        messages, chat_template=source, tokenize=False, continue_final_message=True
    )
    assert render(source, messages, continue_final_message=True) == expected


def test_text_that_comes_again_behind_the_message_is_not_mistaken_for_it(render):
    messages = [START, {"role": "assistant", "content": "end"}]
    assert render(PLAIN, messages, continue_final_message=True) == "<user>Hi<end><assistant>end"


def test_an_empty_message_is_continued_at_its_beginning(render):
    messages = [START, {"role": "assistant", "content": ""}]
    assert render(PLAIN, messages, continue_final_message=True) == "<user>Hi<end><assistant>"


def test_a_message_in_parts(render):
    messages = [START, {"role": "assistant", "content": "So"}]
    assert render(PARTS, messages, continue_final_message=True) == "<user>Hi<assistant>So"


@pytest.mark.parametrize(
    ("source", "last", "problem"),
    [
        ("{% for m in messages %}{{ m.role }}{% endfor %}", {"content": "x"}, "does not show"),
        (GENERIC, {"content": "x", "tool_calls": [{"function": {"name": "f"}}]}, "has tool calls"),
    ],
)
def test_what_cannot_be_continued_is_refused(render, source, last, problem):
    with pytest.raises(InvalidRequestError, match=problem):
        render(source, [START, {"role": "assistant", **last}], continue_final_message=True)


def test_it_works_as_a_variable_too(render):
    messages = [START, {"role": "assistant", "content": "So"}]
    assert render(PLAIN, messages, (), {"continue_final_message": True}).endswith("So")
