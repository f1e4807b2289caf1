"""Conversations in forms that a template does not know: nothing of them vanishes."""

import json

import pytest
from support.chat_templates import (
    ALTERNATING,
    ALTERNATING_CALLS,
    DEMANDING,
    FIRST_SYSTEM,
    FULL_TOOLS,
    GENERIC,
    LAST_SYSTEM,
    NEEDS_TOOLS,
    PARTS,
    STRICT_CALLS,
    SYSTEM_LAST,
    THINKING,
    THREE_ROLES,
)

from server.errors import InvalidRequestError

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def say(role, content, **members):
    return {"role": role, "content": content, **members}


def call(*arguments, content=None, **members):
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": "f", "arguments": a}}
        for i, a in enumerate(arguments)
    ]
    return say("assistant", content, tool_calls=calls, **members)


def result(content, number=0):
    return say("tool", content, tool_call_id=f"call_{number}")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (GENERIC, "<system>D<user>U<assistant>"),
        (THREE_ROLES, "<system>D<user>U"),
        (ALTERNATING, "<user>D\n\nU"),
        (THINKING, "<instructions>D<user>U"),
    ],
)
def test_a_developer_message_is_a_system_message_where_the_role_is_unknown(
    render, source, expected
):
    assert render(source, [say("developer", "D"), say("user", "U")]) == expected


@pytest.mark.parametrize(
    ("source", "messages", "expected"),
    [
        (GENERIC, "sAsBuC", "<system>A<system>B<user>C<assistant>"),
        (GENERIC, "uAaBsCuD", "<user>A<assistant>B<system>C<user>D<assistant>"),
        (FIRST_SYSTEM, "sAsBuC", "<system>A\n\nB<user>C"),
        (FIRST_SYSTEM, "sAuBaCdDuE", "<system>A\n\nD<user>B<assistant>C<user>E"),
        (FIRST_SYSTEM, "uAsB", "<system>B<user>A"),
        (LAST_SYSTEM, "sAsBuC", "A\n\nB<user>C"),
        (LAST_SYSTEM, "sAuBaCsDuE", "A\n\nD<user>B<assistant>C<user>E"),
        (ALTERNATING, "sAuBaCsDuE", "<user>A\n\nD\n\nB<assistant>C<user>E"),
        (ALTERNATING, "uAsBuC", "<user>B\n\nA\n\nC"),
        (ALTERNATING, "uAuBaCaDuE", "<user>A\n\nB<assistant>C\n\nD<user>E"),
        (ALTERNATING, "sAaBuC", "<user>A<assistant>B<user>C"),
    ],
)
def test_system_messages_come_where_the_template_takes_them(render, source, messages, expected):
    roles = {"s": "system", "d": "developer", "u": "user", "a": "assistant"}
    pairs = zip(messages[::2], messages[1::2], strict=True)
    conversation = [say(roles[role], text) for role, text in pairs]
    assert render(source, conversation) == expected


def test_a_system_message_does_not_vanish_in_a_tool_turn(render):
    messages = [say("system", "S"), say("user", "A"), say("assistant", "B"), say("user", "C")]
    assert render(SYSTEM_LAST, messages) == "<user>A<assistant>B<user>S; C"
    turn = [*messages, call("{}"), result("R")]
    assert render(SYSTEM_LAST, turn) == "<user>A<assistant>B<user>S\n\nC<assistant>[[]]<tool>R"
    begun = [*messages, say("assistant", "D")]
    text = render(SYSTEM_LAST, begun, continue_final_message=True)
    assert text == "<user>A<assistant>B<user>S\n\nC<assistant>D"


def test_a_system_message_alone_is_a_question_where_it_would_vanish(render):
    assert render(SYSTEM_LAST, [say("system", "S"), say("developer", "D")]) == "<user>S\n\nD"
    assert render(GENERIC, [say("system", "S")]) == "<system>S<assistant>"


@pytest.mark.parametrize("content", [None, ""])
def test_an_empty_answer_is_left_out_where_it_is_refused(render, content):
    messages = [say("user", "A"), say("assistant", content), say("user", "B")]
    assert render(SYSTEM_LAST, messages) == "<user>A<user>B"
    assert render(GENERIC, messages) == "<user>A<assistant><user>B<assistant>"


@pytest.mark.parametrize("arguments", ['{"x": ', "[1]", "5", '"text"'])
def test_broken_arguments_are_shown_as_they_are(render, arguments):
    messages = [say("user", "A"), call(arguments), result("R")]
    assert f"<call>f {arguments}" in render(LAST_SYSTEM, messages)
    assert f"arguments={arguments}]" in render(STRICT_CALLS, messages)


@pytest.mark.parametrize("source", [GENERIC, STRICT_CALLS, THREE_ROLES])
def test_an_empty_list_of_tool_calls_is_none(render, source):
    messages = [say("user", "A"), say("assistant", "B"), say("user", "C")]
    empty = [messages[0], {**messages[1], "tool_calls": []}, messages[2]]
    assert render(source, empty) == render(source, messages)


@pytest.mark.parametrize("arguments", ["", " \n", "null", " null ", "{}", {}, None])
@pytest.mark.parametrize(
    ("source", "shown"), [(GENERIC, "[f({})]"), (LAST_SYSTEM, "<call>f {}"), (STRICT_CALLS, " f]")]
)
def test_no_arguments_are_an_empty_object(render, source, shown, arguments):
    messages = [say("user", "A"), call(arguments), result("R")]
    assert shown in render(source, messages, [TOOL])


@pytest.mark.parametrize("arguments", ['{"x": "é"}', {"x": "é"}])
@pytest.mark.parametrize(
    ("source", "shown"),
    [(GENERIC, '[f({"x": "é"})]'), (LAST_SYSTEM, '<call>f {"x": "é"}'), (STRICT_CALLS, " f x=é]")],
)
def test_arguments_have_the_form_that_the_template_takes(render, source, shown, arguments):
    messages = [say("user", "A"), call(arguments), result("R")]
    assert shown in render(source, messages, [TOOL])


def test_the_clients_own_text_of_arguments_is_kept(render):
    messages = [say("user", "A"), call('{"x":1.0}'), result("R")]
    assert '<call>f {"x":1.0}' in render(LAST_SYSTEM, messages)


@pytest.mark.parametrize("content", [None, ""])
@pytest.mark.parametrize(
    ("source", "shown"),
    [(GENERIC, "<assistant>[f"), (LAST_SYSTEM, "<call>f"), (STRICT_CALLS, "<assistant>[")],
)
def test_empty_content_beside_calls_has_the_form_that_the_template_needs(
    render, source, shown, content
):
    messages = [say("user", "A"), call("{}", content=content), result("R")]
    assert shown in render(source, messages, [TOOL])


def test_text_beside_calls_is_a_message_of_its_own_where_it_would_hide_them(render):
    messages = [say("user", "A"), call("{}", content="B"), result("R")]
    assert render(LAST_SYSTEM, messages) == "<user>A<assistant>B<call>f {}<tool>R"


def test_several_calls_are_messages_of_their_own_where_only_one_is_taken(render):
    messages = [
        say("user", "A"),
        call('{"x": 1}', '{"x": 2}', content="B"),
        result("second", 1),
        result("first", 0),
        say("user", "C"),
    ]
    text = render(STRICT_CALLS, messages, [TOOL])
    first, second = "4ed9d6a5a", "a4c8e1ab1"
    ids = [part.split()[0] for part in text.split("[")[1:]]
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in ids)
    first, second = ids
    assert text == (
        f"<user>A<assistant>B[{first} f x=1]<tool>first<assistant>[{second} f x=2]<tool>second"
        "<user>C"
    )


def test_text_behind_a_result_is_a_part_of_it_where_roles_must_alternate(render):
    messages = [say("user", "A"), call("{}"), result("R"), say("user", "B")]
    assert render(ALTERNATING_CALLS, messages) == "<user>A<assistant>[{}]<tool>R\n\nB"
    assert render(GENERIC, messages).endswith("<tool>R<user>B<assistant>")


def test_ids_that_fit_stay_as_they_are(render):
    messages = [say("user", "A"), call("{}"), result("R")]
    messages[1]["tool_calls"][0]["id"] = messages[2]["tool_call_id"] = "abcDEF123"
    assert "[abcDEF123 f]" in render(STRICT_CALLS, messages)


def test_calls_and_results_are_text_where_the_template_knows_neither(render):
    second = {"role": "tool", "content": "R2", "tool_call_id": "call_1"}
    messages = [say("user", "A"), call('{"x": "é"}', "", content="B"), result("R"), second]
    text = render(THREE_ROLES, messages, [TOOL])
    user, assistant, results = text.replace("<assistant>", "<user>").split("<user>")[1:]
    assert user == "A"
    said, calls = assistant.split("\n\n")
    assert (said, json.loads(calls)) == (
        "B",
        {
            "tool_calls": [
                {"name": "f", "arguments": {"x": "é"}, "id": "call_0"},
                {"name": "f", "arguments": {}, "id": "call_1"},
            ]
        },
    )
    assert [json.loads(line) for line in results.split("\n\n")] == [
        {"tool_response": {"tool": "f", "content": "R", "tool_call_id": "call_0"}},
        {"tool_response": {"tool": "f", "content": "R2", "tool_call_id": "call_1"}},
    ]


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning", "thinking"])
def test_earlier_reasoning_is_where_the_template_reads_it(render, member):
    messages = [say("user", "A"), say("assistant", "B", **{member: "T"})]
    assert render(THINKING, messages) == "<user>A<assistant>(T)B"


def test_reasoning_can_be_a_part_of_the_content(render):
    source = """\
{%- for m in messages %}<{{ m.role }}>
{%- if m.content is string %}{{ m.content }}{% else %}{% for part in m.content -%}
{{ '(' + part.thinking + ')' if part.type == 'thinking' else part.text }}
{%- endfor %}{% endif %}{% endfor -%}
"""
    messages = [say("user", "A"), say("assistant", "B", reasoning_content="T")]
    assert render(source, messages) == "<user>A<assistant>(T)B"


def test_content_comes_in_parts_where_the_template_needs_them(render):
    messages = [say("system", "S"), say("user", "A"), say("assistant", "B"), say("user", "C")]
    assert render(PARTS, messages) == "<system>S<user>A<assistant>B<user>C"


def test_a_template_that_fails_without_tools_gets_an_empty_list(render):
    assert render(NEEDS_TOOLS, [say("user", "A")]) == "<user>A"


@pytest.mark.parametrize(
    "function",
    [{}, {"description": None, "parameters": None}, {"parameters": {}}, {"description": ""}],
)
def test_a_bare_tool_gets_what_the_template_needs(render, function):
    tool = {"type": "function", "function": {"name": "f", **function}}
    text = render(FULL_TOOLS, [say("user", "A")], [tool, TOOL])
    assert text == "f: ;f: ;<user>A"


@pytest.mark.parametrize(
    ("source", "shown"), [(GENERIC, "<critic>C"), (THREE_ROLES + "{# critic #}", "<user>A")]
)
def test_a_role_of_its_own_is_given_to_a_template_that_may_know_it(render, source, shown):
    assert shown in render(source, [say("critic", "C"), say("user", "A")])


def test_a_role_that_the_template_would_drop_is_refused(render):
    with pytest.raises(InvalidRequestError, match=r"messages\[1\]\.role is 'critic', .*possible"):
        render(THREE_ROLES, [say("user", "A"), say("critic", "C")])


def test_names_and_roles_in_any_script(render):
    tool = {"type": "function", "function": {"name": "wetter_köln", "parameters": {}}}
    messages = [say("user", "A"), call("{}")]
    messages[1]["tool_calls"][0]["function"]["name"] = "天気"
    assert "[天気({})]" in render(GENERIC, messages, [tool])


def test_the_messages_of_the_request_are_not_changed(render):
    messages = [
        say("developer", "S"),
        say("user", "A"),
        call('{"x": 1}', "", content=""),
        result("R"),
    ]
    before = json.dumps(messages)
    render(STRICT_CALLS, messages, [TOOL])
    assert json.dumps(messages) == before


def test_results_are_behind_their_calls_in_the_order_of_the_calls(render):
    messages = [
        call('{"x": 1}', '{"x": 2}'),
        say("user", "wait"),
        result("second", 1),
        result("first"),
    ]
    expected = '<assistant>[f({"x": 1})][f({"x": 2})]<tool>first<tool>second<user>wait<assistant>'
    assert render(GENERIC, messages) == expected


def test_a_result_without_an_id_belongs_to_the_next_call_without_a_result(render):
    messages = [call("{}", "{}"), result("R2", 1), say("tool", "R1")]
    del messages[0]["tool_calls"][0]["id"]
    assert render(GENERIC, messages) == "<assistant>[f({})][f({})]<tool>R1<tool>R2<assistant>"
    text = render(STRICT_CALLS, [say("user", "A"), *messages], [TOOL])
    assert text.index("<tool>R1") < text.index("<tool>R2")


def test_an_id_may_be_used_again(render):
    turns = [call("{}"), result("R1"), call("{}"), result("R2")]
    assert render(GENERIC, turns) == (
        "<assistant>[f({})]<tool>R1<assistant>[f({})]<tool>R2<assistant>"
    )


def test_a_result_of_no_call_is_text_where_the_template_refuses_it(render):
    messages = [say("user", "A"), result("R"), call("{}"), say("tool", "R2")]
    lone = '<user>{"tool_response": {"content": "R", "tool_call_id": "call_0"}}'
    assert render(DEMANDING, messages) == f"<user>A{lone}[{{}}]<tool>R2"


def test_text_beside_calls_is_a_message_of_its_own_where_it_would_be_dropped(render):
    messages = [say("user", "A"), call("{}", content="B"), result("R")]
    assert render(DEMANDING, messages) == "<user>A<assistant>B[{}]<tool>R"


def test_a_greeting_of_the_assistant_is_behind_an_empty_message_where_users_begin(render):
    greeting = [say("assistant", "A"), say("user", "B")]
    assert render(DEMANDING, greeting) == "<user><assistant>A<user>B"
    assert render(GENERIC, greeting) == "<assistant>A<user>B<assistant>"


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": ["string", "null"], "description": "d"}, "[x string d]"),
        ({"type": ["null", "string", "object"]}, "[x stringobject ]"),
        ({"type": "null"}, "[x  ]"),
        ({"type": "string"}, "[x string ]"),
    ],
)
def test_parameters_have_the_form_that_the_template_takes(render, schema, shown):
    function = {"name": "f", "parameters": {"type": "object", "properties": {"x": schema}}}
    text = render(DEMANDING, [say("user", "A")], [{"type": "function", "function": function}])
    assert text == f'["function"]{shown}<user>A'


@pytest.mark.parametrize("arguments", [json.dumps('{"x": 1}'), json.dumps("{}")])
def test_arguments_that_are_json_twice_are_an_object(render, arguments):
    shown = json.dumps(json.loads(json.loads(arguments)))
    messages = [say("user", "A"), call(arguments), result("R")]
    assert f"[f({shown})]" in render(GENERIC, messages)
