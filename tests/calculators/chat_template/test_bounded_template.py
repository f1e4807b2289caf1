import time
from datetime import datetime

import pytest
from support import chat_templates

from calculators.chat_template.bounded_template import find_bounded
from calculators.chat_template.chat_template import ChatTemplate
from server.payloads import ChatOptions

TEXT = "a" * 1900
NOW = datetime(2026, 1, 2)
VARIABLES = {"text": TEXT, "members": {str(i): {"a": "b"} for i in range(120)}, "format": "%9999d"}


def at_once(source, **variables):
    template = find_bounded(source, {})
    return None if template is None else template.render({**VARIABLES, **variables}, NOW)


def grown(first, step):
    return f"{{% set x = {first} %}}" + f"{{% set x = {step} %}}" * 60 + "{{ x }}"


def namespaces(step):
    return "{% set ns = namespace(a=1) %}" + step * 60 + "{{ ns.a }}"


@pytest.mark.parametrize(
    "source",
    [
        grown("text", "x + x"),
        grown("text", "x ~ x"),
        grown("text", "[x, x]"),
        grown("text", "(x, x)"),
        grown("text", "{'a': x, 'b': x}"),
        grown("text", "x | tojson"),
        grown("'\"'", "(x | tojson) if x"),
        grown("text", "x.replace('a', 'aa')"),
        grown("text", "x | join(x)"),
        grown("9", "x * x"),
        grown("9", "x ** 9"),
        grown("namespace(a=1)", "namespace(a=x, b=x)"),
        namespaces("{% set ns.a = ns.a + ns.a %}"),
        namespaces("{% set ns.a = namespace(a=ns.a, b=ns.a) %}"),
        namespaces("{% set ns.a = (namespace(a=ns.a, b=ns.a)) if ns.a %}"),
        "{% set n = namespace(a=1) %}" * 2 + "{% set n.a = n %}{{ n }}",
        "{{ " + "text | tojson" + " | tojson" * 40 + " }}",
        "{{ text | center(2000000000) }}",
        "{{ text.ljust(2000000000) }}",
        "{{ members | tojson(indent=1000000000) }}",
        "{{ members | tojson(separators=(text, text)) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ text | attr('format') }}",
        "{{ text.__class__ }}",
        "{{ range(99999) | list }}",
        "{{ lipsum(n=100000) }}",
        "{{ dict(a=text) }}",
        "{{ members.get(*text) }}",
        "{{ text in text }}",
        "{{ text.split(text) }}",
        "{{ strftime_now(text) }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% set x %}{{ text }}{% endset %}{{ x }}",
        "{% for x in [text, text] %}{{ x }}{% endfor %}",
        "{% for x in members recursive %}{{ loop(members) }}{% endfor %}",
        "{% for x in text + text + text %}{{ x }}{% endfor %}",
        "{{ '" + TEXT * 2 + "' }}",
        "{{ " + "(" * 40 + "text + " * 40 + "text" + ")" * 40 + " }}",
        "{{ " + "(" * 400 + "text" + ")" * 400 + " }}",
        "{% if text %}" * 40 + "{% endif %}" * 40,
        "x" * 70_000,
    ],
)
def test_what_is_not_bounded_is_not_admitted(source):
    assert find_bounded(source, {}) is None


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in text %}{% for b in text %}{{ b }}{% endfor %}{% endfor %}x",
        "{% for a in text %}{{ text }}{% endfor %}",
        "{% for a in text %}{% if 'b' in text %}{% endif %}{% endfor %}",
        "{% for a in text %}{% if members | tojson == text %}{% endif %}{% endfor %}",
        "{% for a in text %}{{ members ~ members }}{% endfor %}",
        "{{ format % 1 }}",
        "{{ messages[0].content }}{{ raise_exception('no') }}",
        "{{ text.strip().nothing.nothing }}",
        "{{ text.items() }}",
    ],
)
def test_what_goes_beyond_its_cost_or_fails_is_left_to_a_process(source):
    assert find_bounded(source, {}) is not None
    began_at = time.thread_time()
    assert at_once(source) is None
    assert time.thread_time() - began_at < 0.1


@pytest.mark.parametrize(
    "operation",
    [
        "text.split('a')",
        "text.strip('" + "b" * 63 + "a')",
        "text | list",
        "members ~ members",
        "members | tojson",
        "members | tojson(indent=8)",
        "'" + "a" * 63 + "b' in text",
        "text + text + text + text",
        "strftime_now('" + "%9999Y" * 10 + "')",
        "members == others",
        "text[::-1]",
    ],
)
def test_the_dearest_operations_take_some_milliseconds(operation):
    source = "{% for c in turns %}{% if OPERATION %}{% endif %}{% endfor %}x"
    template = find_bounded(source.replace("OPERATION", operation), {})
    others = {**VARIABLES["members"]}
    for num_turns in (1900, 900, 300, 100, 30, 10):
        began_at = time.thread_time()
        template.render({**VARIABLES, "others": others, "turns": TEXT[:num_turns]}, NOW)
        assert time.thread_time() - began_at < 0.1


def test_long_special_tokens_are_not_admitted():
    assert find_bounded("{{ bos_token }}", {"bos_token": TEXT * 2}) is None


@pytest.mark.parametrize("name", ["GENERIC", "THREE_ROLES", "LAST_SYSTEM", "FULL_TOOLS"])
def test_the_text_is_that_of_the_process(name):
    template = ChatTemplate(
        {"default": getattr(chat_templates, name)}, {"bos_token": "<s>"}, "test"
    )
    user = {"role": "user", "content": "Grüße <b> & 'quotes'"}
    answer = {"role": "assistant", "content": "Hi"}
    for messages in ([user], [user, answer, user], [user, answer]):
        for continues in (False, messages[-1] is answer):
            options = ChatOptions(continue_final_message=continues)
            rendering = template.prepare(messages, (), {}, options)
            assert rendering.text_at_once() == rendering.text() != ""
