import asyncio
import json
import logging
import shutil
from dataclasses import replace
from unittest.mock import ANY

import pytest

from calculators.tokenizer_calculator import (
    MAX_CHARACTERS_ON_EVENT_LOOP,
    TokenizerCalculator,
    TokenizerCalculatorOptions,
)
from server.errors import InvalidRequestError, ModelLoadError
from server.graph import Services
from server.graph.testing import CalculatorRunner
from server.payloads import ChatOptions, GenerationRequest, LoadOptions

USER = {"role": "user", "content": "Hi"}


def open_runner(folder, template="", services=None, **options):
    options = TokenizerCalculatorOptions("./", template, **options)
    runner = CalculatorRunner(TokenizerCalculator, options, base_path=folder, services=services)
    runner.open()
    return runner


async def tokenize(runner, **fields):
    request = GenerationRequest("request", **fields)
    (prompt,) = (await runner.run({"GENERATION_REQUEST": [request]}))["PROMPT"]
    assert prompt.request is request
    return prompt


async def test_a_chat_is_rendered_and_gets_no_second_bos(metaspace, tmp_path):
    shutil.copytree(metaspace.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    prompt = await tokenize(open_runner(tmp_path), messages=(USER,))
    assert prompt.text == "<s>Hi"
    assert prompt.token_ids.count(1) == 1


async def test_a_text_gets_the_special_tokens_of_its_model(metaspace):
    prompt = await tokenize(open_runner(metaspace.path), prompt="Hi")
    assert list(prompt.token_ids) == metaspace.hf("Hi").input_ids
    assert prompt.token_ids[0] == 1
    assert prompt.text == "Hi"


async def test_token_ids_are_taken_as_they_are(metaspace):
    prompt = await tokenize(open_runner(metaspace.path), prompt=(5, 2**31 - 1))
    assert (prompt.token_ids, prompt.text) == ((5, 2**31 - 1), None)


@pytest.mark.parametrize("size", [10, MAX_CHARACTERS_ON_EVENT_LOOP * 10])
async def test_a_prompt_of_any_size_is_rendered_and_encoded_whole(byte_level, size):
    runner = open_runner(byte_level.path)
    content = "a" * size
    messages = ({"role": "user", "content": content},)
    expected = byte_level.hf.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert list((await tokenize(runner, messages=messages)).token_ids) == expected
    assert len(expected) > size / 10


async def test_clients_take_turns(byte_level):
    runner = open_runner(byte_level.path)
    messages = ({"role": "user", "content": "a" * MAX_CHARACTERS_ON_EVENT_LOOP * 5},)
    ended = []

    async def ask(client):
        await tokenize(runner, client=client, messages=messages)
        ended.append(client)

    await asyncio.gather(*(ask(client) for client in [*["many"] * 50, "single"]))
    assert ended.index("single") < 25


async def test_the_name_of_a_special_token_in_a_message_is_that_token(byte_level):
    messages = ({"role": "user", "content": "a<|im_end|>b"},)
    prompt = await tokenize(open_runner(byte_level.path), messages=messages)
    assert prompt.token_ids.count(2) == 2


async def test_tools_and_template_kwargs_reach_the_template(byte_level, tmp_path):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text("{{ tools[0].name }} {{ mood }}")
    prompt = await tokenize(
        open_runner(tmp_path),
        messages=(USER,),
        tools=({"name": "search"},),
        chat_template_kwargs={"mood": "good"},
    )
    assert prompt.text == "search good"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": ()}, "prompt"),
        ({"prompt": (5, -1)}, "prompt"),
        ({"prompt": (5, 2**31)}, "prompt"),
        ({"prompt": "half \ud83d"}, None),
        ({"messages": ({"content": "no role"},)}, "messages"),
    ],
)
async def test_what_cannot_be_a_prompt_is_refused(byte_level, fields, param):
    with pytest.raises(InvalidRequestError) as caught:
        await tokenize(open_runner(byte_level.path), **fields)
    assert caught.value.param == param


@pytest.mark.parametrize("template", [None, "{% if %}"])
async def test_without_a_usable_template_only_chats_are_refused(
    metaspace, tmp_path, caplog, template
):
    shutil.copytree(metaspace.path, tmp_path, dirs_exist_ok=True)
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    with caplog.at_level(logging.WARNING):
        runner = open_runner(tmp_path)
    assert "Chat requests will be refused" in caplog.text
    assert (await tokenize(runner, prompt="Hi")).token_ids
    with pytest.raises(InvalidRequestError, match=r"this model cannot chat:.*chat template"):
        await tokenize(runner, messages=(USER,))


async def test_the_option_and_the_flag_name_a_file_with_another_template(byte_level, tmp_path):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine.jinja").write_text("mine {{ messages[0].content }}")
    (tmp_path / "flag.jinja").write_text("flag {{ messages[0].content }}")
    runner = open_runner(tmp_path, "mine.jinja")
    assert (await tokenize(runner, messages=(USER,))).text == "mine Hi"
    services = Services(extras=(LoadOptions(chat_template=tmp_path / "flag.jinja"),))
    runner = open_runner(tmp_path, "mine.jinja", services)
    assert (await tokenize(runner, messages=(USER,))).text == "flag Hi"
    with pytest.raises(ModelLoadError, match=r"none\.jinja: cannot be read"):
        open_runner(tmp_path, "none.jinja")


async def test_the_time_of_a_template_is_an_option_and_a_flag(byte_level, tmp_path):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    loops = "{% for i in range(90000) %}" * 3 + "{% endfor %}" * 3
    source = "{{ messages[0].content }}{% if messages[0].content == 'Hi' %}" + loops + "{% endif %}"
    (tmp_path / "chat_template.jinja").write_text(source)
    runner = open_runner(tmp_path, chat_template_time_limit_ms=200)
    with pytest.raises(InvalidRequestError, match=r"stopped: it takes more than 0\.2 seconds"):
        await tokenize(runner, messages=(USER,))
    services = Services(extras=(LoadOptions(chat_template_time_limit_ms=100),))
    with pytest.raises(InvalidRequestError, match=r"stopped: it takes more than 0\.1 seconds"):
        await tokenize(open_runner(tmp_path, services=services), messages=(USER,))


NAMES = {"byte_level": "<|im_end|>", "metaspace": "</s>", "word_piece": "[SEP]"}
SHOWN = (
    "{{ name }}{% for m in messages %}{{ m.content | trim }}{% endfor %}"
    "{% if tools %}{{ tools | tojson(ensure_ascii=true) }}{{ tools }}{% endif %}{{ name }}"
)


@pytest.mark.parametrize("kind", NAMES)
async def test_names_of_special_tokens_are_plain_text_where_clients_write_them(
    request, tmp_path, kind
):
    folder, name = request.getfixturevalue(kind).path, NAMES[kind]
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    template = SHOWN.replace("{{ name }}", name)
    (tmp_path / "chat_template.jinja").write_text(template)
    messages = tuple(
        {"role": "user", "content": text} for text in (f"a {name} b", name[:2], name[2:])
    )
    tool = {"type": "function", "function": {"name": name, "description": f"x {name}"}}
    plain, special = open_runner(tmp_path, split_special_tokens=True), open_runner(tmp_path)
    (token_id,) = special.output_side_packets["TOKENIZER"].encode(name, add_special_tokens=False)
    for tools in ((), (tool,)):
        split = await tokenize(plain, messages=messages, tools=tools)
        whole = await tokenize(special, messages=messages, tools=tools)
        assert split.text == whole.text
        assert whole.token_ids.count(token_id) == (8 if tools else 4)
        # Those of the template, around all.
        assert split.token_ids.count(token_id) == 2
    services = Services(extras=(LoadOptions(split_special_tokens=True),))
    by_flag = await tokenize(open_runner(tmp_path, services=services), messages=messages)
    assert by_flag.token_ids.count(token_id) == 2


async def test_a_text_without_names_has_the_same_tokens(byte_level):
    plain, special = (
        open_runner(byte_level.path, split_special_tokens=True),
        open_runner(byte_level.path),
    )
    messages = (USER, {"role": "assistant", "content": "fox 日本 </s>\n"}, USER)
    expected = await tokenize(special, messages=messages)
    assert await tokenize(plain, messages=messages) == replace(expected, request=ANY)


def test_a_tokenizer_that_cannot_split_names_is_refused(sentencepiece_op):
    with pytest.raises(ModelLoadError, match="split_special_tokens is not possible"):
        open_runner(sentencepiece_op, split_special_tokens=True)


async def test_options_of_the_chat_reach_the_template(byte_level, tmp_path):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    source = "{{ messages[0].content }}{{ enable_thinking }}{{ add_generation_prompt }}"
    (tmp_path / "chat_template.jinja").write_text(source)
    runner = open_runner(tmp_path)
    options = ChatOptions(reasoning_effort="none", add_generation_prompt=False)
    prompt = await tokenize(runner, messages=(USER,), chat_options=options)
    assert prompt.text == "HiFalseFalse"


def test_the_status_says_what_the_template_knows(byte_level, tmp_path):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}{{ thinking }}")
    status = open_runner(tmp_path).calculator.status()
    found = json.loads(json.dumps(status))["chat_template"]["default"]
    assert found["switches"] == {"thinking": [False, True]}
    assert found["later_system"] is False


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match=r"openvino_tokenizer\.xml: no such file"):
        open_runner(tmp_path)


async def test_bad_words_become_tokens_with_and_without_a_space(byte_level):
    runner = open_runner(byte_level.path)
    request = GenerationRequest("request", prompt="Hi", bad_words=("a", " cat", "a"))
    (prompt,) = (await runner.run({"GENERATION_REQUEST": [request]}))["PROMPT"]
    encode = byte_level.hf.encode
    expected = []
    for word in ("a", "cat"):
        plain, spaced = (
            tuple(encode(text, add_special_tokens=False)) for text in (word, f" {word}")
        )
        expected.append(plain)
        if len(plain) == len(spaced):
            expected.append(spaced)
    assert prompt.request.sampling["bad_word_ids"] == tuple(expected)
