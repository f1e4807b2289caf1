"""What the probe finds out about templates."""

import pytest
from support.chat_templates import (
    ALTERNATING,
    ALTERNATING_CALLS,
    FIRST_SYSTEM,
    FULL_TOOLS,
    GENERIC,
    LAST_SYSTEM,
    PARTS,
    STRICT_CALLS,
    SYSTEM_LAST,
    THINKING,
)

from calculators.chat_template.chat_template import ChatTemplate, load_chat_template

USER = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (GENERIC, {"system": True, "developer": False, "arguments": "object", "tools": False}),
        (GENERIC, {"any_role": True, "documents": False, "continues": True, "lone_system": True}),
        (GENERIC + "{{ documents }}", {"documents": True}),
        (SYSTEM_LAST, {"lasting_system": False, "empty_answers": False, "lone_system": False}),
        (FULL_TOOLS, {"tools": True, "bare_tools": False}),
        (ALTERNATING_CALLS, {"user_after_result": False, "several_calls": True}),
        (ALTERNATING, {"system": False, "two_users": False, "two_assistants": False}),
        (FIRST_SYSTEM, {"system": True, "two_systems": False, "later_system": False}),
        (LAST_SYSTEM, {"two_systems": False, "arguments": "text", "empty_content": ("null",)}),
        (STRICT_CALLS, {"empty_content": ("text",), "short_call_ids": True}),
        (PARTS, {"part_roles": ("user", "system", "assistant"), "tool_calls": False}),
        (THINKING, {"developer": True, "reasoning": "thinking"}),
        ("no messages", {"is_probed": False}),
    ],
)
def test_what_a_template_knows(traits_of, source, found):
    described = traits_of(source).describe()
    assert {name: described[name] for name in found} == found


@pytest.mark.parametrize(
    ("source", "switches"),
    [
        ("{{ 'no' if enable_thinking is false }}", {"enable_thinking": (False, True)}),
        ("{{ 'yes' if thinking }}", {"thinking": (False, True)}),
        ("{{ thinking_mode }}", {"thinking_mode": ("disabled", "enabled")}),
        ("", {}),
    ],
)
def test_switches_of_thinking(traits_of, source, switches):
    assert traits_of(USER + source).switches == switches


LOW_HIGH = {"none": "low", "minimal": "low", "low": "low", "medium": "high", "high": "high"}


@pytest.mark.parametrize(
    ("source", "efforts"),
    [
        # It copies any value, so only the usual ones are given to it.
        (
            "{{ reasoning_effort }}",
            {**LOW_HIGH, "medium": "medium", "xhigh": "high", "max": "high"},
        ),
        (
            "{% if reasoning_effort is defined and reasoning_effort not in ['low', 'high'] %}"
            "{{ raise_exception('x') }}{% endif %}{{ reasoning_effort }}",
            {**LOW_HIGH, "xhigh": "high", "max": "high"},
        ),
        # Others than these two have its default.
        (
            "{{ 'Hurry.' if reasoning_effort in ['minimal', 'low'] }}",
            {"none": "minimal", "minimal": "minimal", "low": "low"},
        ),
        (
            "{% if thinking %}<think>{{ 'Hard.' if reasoning_effort == 'max' }}{% endif %}",
            {"max": "max"},
        ),
        (
            "{{ reasoning_effort if reasoning_effort in ['no_think', 'high'] }}",
            {"none": "no_think", "high": "high"},
        ),
        ("{{ 'x' if enable_thinking }}", None),
    ],
)
def test_efforts_have_values_that_the_template_knows(traits_of, source, efforts):
    expected = {} if efforts is None else {"reasoning_effort": efforts}
    assert traits_of(USER + source).efforts == expected


def test_tools_that_a_template_does_not_show_are_named_once_in_the_log(caplog):
    tools = [{"type": "function", "function": {"name": "f"}}]
    template = ChatTemplate({"default": GENERIC}, {}, "test")
    for _ in range(2):
        template.render([{"role": "user", "content": "A"}], tools)
    assert [message for message in caplog.messages if "has tools" in message] == [
        "A request has tools, but the chat template of the model shows none"
    ]


def test_a_template_without_end_is_loaded():
    loops = "{% for i in range(90000) %}" * 3 + "{% set x = i %}" + "{% endfor %}" * 3
    template = ChatTemplate({"default": loops}, {}, "test", time_limit_s=0.1)
    assert not template.traits["default"].is_probed


def test_the_log_says_what_a_template_knows(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "chat_template.jinja").write_text(FIRST_SYSTEM)
    load_chat_template(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('never') }}")
    load_chat_template(tmp_path)
    known, unknown = caplog.messages
    assert "knows system messages, tool results; not several system messages, later" in known
    assert "cannot render even one message of a user" in unknown
