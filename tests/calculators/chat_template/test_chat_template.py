import json
import os
import signal
import threading
import time
from datetime import datetime

import pytest

from calculators.chat_template import render_process
from calculators.chat_template.chat_template import ChatTemplate, load_chat_template
from server.errors import InvalidRequestError, ModelLoadError
from server.payloads import ChatOptions

USER = {"role": "user", "content": "Hi"}


def render(source, messages=(USER,), tools=(), special_tokens=None, **template_kwargs):
    template = ChatTemplate({"default": source}, special_tokens or {}, "test")
    return template.render(messages, tools, template_kwargs)


def write(folder, name, value):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def test_rendering_equals_that_of_transformers(byte_level):
    messages = [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "<b>Grüße</b> & 'quotes'"},
    ]
    template = load_chat_template(byte_level.path)
    for add_prompt in (True, False):
        expected = byte_level.hf.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_prompt
        )
        assert template.render(messages, (), {"add_generation_prompt": add_prompt}) == expected


TRANSFORMERS_FEATURES = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'skip' %}{% continue %}{% endif %}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}
    {%- else %}
        {{- message.content + '\\n' }}
    {%- endif %}
{%- endfor %}
{% if tools %}
  {{ tools | tojson(indent=2) }}
  {% for tool in tools %}
{{ tool | tojson }}
  {% endfor %}
{% endif %}
{{ namespace(x=1).x }} {{ documents is none }} {{ strftime_now('%Y') | length }}
"""


@pytest.mark.parametrize("tools", [(), ({"name": "grüße", "html": "<a&'b>"},)])
def test_the_features_of_transformers_give_its_text(byte_level, tools):
    messages = [
        USER,
        {"role": "skip", "content": "no"},
        {"role": "assistant", "content": "  yes  "},
    ]
    expected = byte_level.hf.apply_chat_template(
        messages,
        chat_template=TRANSFORMERS_FEATURES,
        tools=list(tools) or None,
        tokenize=False,
    )
    special_tokens = {"eos_token": "<|im_end|>"}
    assert render(TRANSFORMERS_FEATURES, messages, tools, special_tokens) == expected


def test_arguments_of_tool_calls_become_objects():
    call = {"type": "function", "function": {"name": "f", "arguments": '{"city": "Köln"}'}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    source = "{{ messages[0].tool_calls[0].function.arguments.city }}"
    assert render(source, [message]) == "Köln"
    assert call["function"]["arguments"] == '{"city": "Köln"}'


@pytest.mark.parametrize("arguments", ["not JSON", "[1]", "[" * 100_000])
def test_other_arguments_stay_as_they_are(arguments):
    message = {"role": "assistant", "tool_calls": [{"function": {"arguments": arguments}}]}
    source = "{{ messages[0].tool_calls[0].function.arguments }}"
    assert render(source, [message]) == arguments


def test_template_kwargs_are_variables():
    assert render("{{ enable_thinking }}", enable_thinking=False) == "False"


def test_tools_are_none_without_tools():
    assert render("{{ tools is none }}") == "True"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "a field of the request") for name in ("messages", "tools", "documents")),
        *((name, "belongs to the model") for name in ("bos_token", "eos_token", "image_token")),
        *((name, "belongs to the model") for name in ("raise_exception", "namespace")),
    ],
)
def test_template_kwargs_cannot_replace_what_is_set_already(name, why):
    template = ChatTemplate({"default": "x"}, {"image_token": "<image>"}, "test")
    with pytest.raises(InvalidRequestError, match=f"chat_template_kwargs has '{name}', .*{why}"):
        template.render([USER], (), {name: []})


def test_documents_reach_a_template_that_shows_them():
    options = ChatOptions(documents=({"title": "T", "text": "D"},))
    source = "{% for d in documents or [] %}{{ d.title }}: {{ d.text }}{% endfor %}"
    assert ChatTemplate({"default": source}, {}, "test").render([USER], options=options) == "T: D"
    with pytest.raises(InvalidRequestError, match="documents: the chat template of this model"):
        ChatTemplate({"default": "x"}, {}, "test").render([USER], options=options)


def test_template_kwargs_win_over_the_effort():
    source = "{{ messages[0].content }}{{ enable_thinking }}"
    template = ChatTemplate({"default": source}, {}, "test")
    options = ChatOptions(reasoning_effort="none")
    assert template.render([USER], options=options) == "HiFalse"
    assert template.render([USER], (), {"enable_thinking": True}, options) == "HiTrue"


def test_add_generation_prompt_must_be_true_or_false():
    with pytest.raises(InvalidRequestError, match="must be true or false"):
        render("x", add_generation_prompt="yes")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refused: roles must alternate"),
        ("{{ messages[5].content.x }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ 'x' * 1000000000 }}", r"was stopped: the result of \* is too big"),
        ("{{ 10 ** 1000000 }}", r"the result of \*\* is too big"),
        ("{% for i in range(99999999) %}x{% endfor %}", "Range too big"),
    ],
)
def test_what_a_template_raises_is_an_error_of_the_request(source, message):
    with pytest.raises(InvalidRequestError, match=message):
        render(source)


LOOPS = "{% for i in range(90000) %}" * 3 + "{% set x = i %}" + "{% endfor %}" * 3
DOUBLED = (
    "{{% set ns = namespace(a={}) %}}{{% for i in range(40) %}}{{% set ns.a = {} %}}{{% endfor %}}"
)
LAUGHS = DOUBLED.format("['x']", "[ns.a, ns.a]")
TREE = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
GO = {"role": "user", "content": "go"}


def stop(template, message):
    with pytest.raises(InvalidRequestError, match="was stopped"):
        template.render([message])


@pytest.mark.parametrize(
    "operation",
    [
        LOOPS,
        "{{ (range(99999) | list * 160) | sort | join }}{{ (range(99999) | list * 160) | sort }}",
        LAUGHS + "{% set a = ns.a %}" + LAUGHS + "{{ a == ns.a }}",
        LAUGHS + "{{ ns.a }}",
        LAUGHS + "{{ ns.a | tojson }}",
        "{{ 'a' | center(2000000000) }}",
        "{{ 'a'.ljust(2000000000) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ ('x' * 16000000) | list }}",
        "{{ ('x' * 16000000).replace('x', 'x' * 16000000) }}",
        "{{ ('x' * 16000000) | indent(100) | wordwrap(1) }}",
        DOUBLED.format("'x'", "ns.a ~ ns.a"),
        "{{ range(99999) | batch(1000000000, 'x') | list }}",
        "{{ range(99999) | slice(1000000000) | list }}",
        DOUBLED.format("9", "ns.a * ns.a"),
        "{{ lipsum(n=100000) }}",
        TREE + "{{ f(60) }}",
        "{% for i in range(90000) %}{% for j in range(90000) %}xxxx{% endfor %}{% endfor %}",
    ],
)
def test_what_takes_too_much_is_stopped(operation):
    source = "{% if messages[0].content == 'go' %}" + operation + "{% endif %}ok"
    template = ChatTemplate({"default": source}, {}, "test", time_limit_s=0.2)
    began_at = time.monotonic()
    with pytest.raises(InvalidRequestError, match="chat template 'default' was stopped: "):
        template.render([GO])
    assert time.monotonic() - began_at < 20
    assert template.render([USER]) == "ok"


def test_a_template_that_takes_long_does_not_hold_pythons_lock():
    source = (
        "{% if messages[0].content == 'go' %}{{ (range(99999) | list * 160) | sort }}{% endif %}"
    )
    template = ChatTemplate({"default": source}, {}, "test", time_limit_s=0.5)
    thread = threading.Thread(target=stop, args=(template, GO))
    thread.start()
    num_turns = 0
    while thread.is_alive():
        time.sleep(0.01)
        num_turns += 1
    assert num_turns > 10


def test_a_slow_template_leaves_processes_for_others():
    slow = ChatTemplate({"default": LOOPS}, {}, "test", time_limit_s=0.5)
    quick = ChatTemplate({"default": "{{ messages[0].content }}"}, {}, "test")
    threads = [threading.Thread(target=stop, args=(slow, USER)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert quick.render([USER]) == "Hi"
    assert any(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()


def test_a_text_of_a_template_that_is_too_long_is_refused():
    with pytest.raises(InvalidRequestError, match="makes more than 16000000 characters"):
        render("{% for i in range(90000) %}{{ messages[0].content * 1000 }}{% endfor %}")


def test_a_process_that_ended_is_replaced():
    template = ChatTemplate({"default": "{{ messages[0].content }}"}, {}, "test")
    for process in render_process._pool._idle:
        process._process.kill()
    assert template.render([USER]) == "Hi"


def test_the_start_of_a_process_is_not_the_templates_time(monkeypatch):
    monkeypatch.setattr(render_process, "GRACE_S", 1.0)
    process = render_process._Process()
    try:
        os.kill(process._process.pid, signal.SIGSTOP)
        threading.Timer(2.0, os.kill, (process._process.pid, signal.SIGCONT)).start()
        header = render_process.JobHeader("{{ 1 + 1 }}", datetime.now(), 1.0, ({},))
        assert process.run(header, {}) == ["2"]
    finally:
        process.end()


def test_half_characters_stay_as_they_are():
    template = ChatTemplate({"default": "{{ messages[0].content }}"}, {}, "test")
    assert template.render([{"role": "user", "content": "a\ud800b"}]) == "a\ud800b"


def test_multiplication_of_numbers_works():
    assert render("{{ 1000000 * 1000000 }} {{ 2 ** 10 }} {{ '-' * 3 }}") == "1000000000000 1024 ---"


def test_the_file_goes_before_the_configuration(tmp_path):
    write(tmp_path, "tokenizer_config.json", {"chat_template": "config"})
    assert load_chat_template(tmp_path).render([USER]) == "config"
    write(tmp_path, "chat_template.json", {"chat_template": "json"})
    assert load_chat_template(tmp_path).render([USER]) == "json"
    write(tmp_path, "chat_template.jinja", "file")
    assert load_chat_template(tmp_path).render([USER]) == "file"


def test_a_template_for_tools_is_used_with_tools(tmp_path):
    templates = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "with {{ tools | length }}"},
    ]
    write(tmp_path, "tokenizer_config.json", {"chat_template": templates})
    template = load_chat_template(tmp_path)
    assert [template.render([USER]), template.render([USER], [{}])] == ["plain", "with 1"]
    write(tmp_path, "chat_template.jinja", "file")
    write(tmp_path, "additional_chat_templates/tool_use.jinja", "tools")
    template = load_chat_template(tmp_path)
    assert [template.render([USER]), template.render([USER], [{}])] == ["file", "tools"]


def test_special_tokens_are_texts_or_objects(tmp_path):
    write(tmp_path, "special_tokens_map.json", {"bos_token": "old", "pad_token": "<pad>"})
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "unk_token": None}
    write(tmp_path, "tokenizer_config.json", config)
    write(tmp_path, "chat_template.jinja", "{{bos_token}}{{eos_token}}{{pad_token}}{{unk_token}}")
    assert load_chat_template(tmp_path).render([USER]) == "<s></s><pad>"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "the model has no chat template.*chat_template.jinja"),
        ({"chat_template": [{"name": "rag", "template": "x"}]}, "it has only rag"),
        (
            {"chat_template": [{"name": "rag"}]},
            r"config\.json: .*lists \{'name': 'rag'\}; each must",
        ),
        ({"chat_template": ["default"]}, "lists default; each must"),
        ({"chat_template": "{% if %}"}, "line 1 of the chat template 'default'"),
        ("{", r"tokenizer_config\.json: is not JSON"),
        ("[]", "must be an object"),
    ],
)
def test_a_template_that_cannot_be_used_is_named(tmp_path, config, message):
    write(tmp_path, "tokenizer_config.json", config)
    with pytest.raises(ModelLoadError, match=message):
        load_chat_template(tmp_path)
