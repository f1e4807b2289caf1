"""Families by name and by chat template: the built-in ones, and those of third parties."""

import logging
import re
from typing import ClassVar

import pytest
from support.parsing import parse

from calculators.output_parsers import (
    CallFrame,
    JsonToolParser,
    ModelFamily,
    OutputFormat,
    TaggedReasoningParser,
    find_parser_problems,
    guided_tool_parsers,
    parser_names,
)
from calculators.output_parsers.registry import choose_parsers


class TheirToolParser(JsonToolParser):
    begin = "<their_call>"
    closing = "</their_call>"
    markers = (begin, closing)
    frame: ClassVar[CallFrame | None] = CallFrame('<their_call>{"name": "', '", "arguments": ', "}")


class TheirReasoningParser(TaggedReasoningParser):
    begin = "<muse>"
    end = "</muse>"
    markers = (begin, end)


class Theirs(ModelFamily):
    tool_parser = TheirToolParser
    reasoning_parser = TheirReasoningParser
    template_marks = (("<tool_call>", "their_marks"), ("<their_call>",))
    reasoning_marks = ("<muse>",)


class Musing(ModelFamily):
    reasoning_parser = TheirReasoningParser
    reasoning_marks = ("<muse>",)


class Empty(ModelFamily):
    pass


@pytest.mark.parametrize(
    ("template", "tool_parser", "reasoning_parser"),
    [
        ("", "none", "none"),
        ("<|im_start|>", "none", "none"),
        ("<tool_call></tool_call>", "hermes3", "none"),
        ("<tool_call> content.split('</think>')", "hermes3", "qwen3"),
        ("<think>", "none", "qwen3"),
        ("<tool_call><function=x><parameter=y> <think>", "qwen3coder", "qwen3"),
        ("<|start|><|channel|>analysis<think>", "gptoss", "gptoss"),
        ("<|tool_call>call:' + name", "gemma4", "gemma4"),
        ("<|tool_call_start|> <think>", "lfm2", "lfm2"),
        ("keep_past_thinking", "lfm2", "none"),
        ("functools[", "phi4", "none"),
        ("[TOOL_CALLS] [AVAILABLE_TOOLS]", "mistral", "none"),
        ("[TOOL_CALLS] [ARGS] [THINK]", "devstral", "devstral"),
        ("<｜tool▁call▁begin｜>function \n```json <think>", "deepseek_v3", "deepseek_v3"),
        ("<｜tool▁call▁begin｜> <｜tool▁sep｜>", "deepseek_v31", "none"),
        ("'｜DSML｜' 'function_calls>' <think>", "deepseek_v32", "deepseek_v32"),
        ("'｜DSML｜' 'tool_calls>'", "deepseek_v4", "none"),
        ("<|tool_call_argument_begin|> <think>", "kimi_k2", "kimi_k2"),
        ("<tool_call> <arg_key></arg_key><arg_value> <think>", "glm45", "glm45"),
        ("<minimax:tool_call> <think>", "minimax_m2", "minimax_m2"),
        ("<seed:tool_call><function=f><parameter=p> <seed:think>", "seed_oss", "seed_oss"),
        ("<|start_of_role|> <|tool_call|> <think>", "granite", "granite"),
        ("<|start_of_role|> <tool_call>", "granite4", "none"),
        ("<TOOLCALL>[ <think>", "nemotron", "nemotron"),
        ("<|START_ACTION|>", "cohere", "cohere"),
        ("<|action_start|><|plugin|>", "internlm", "none"),
        ("<tool_calls>[ <answer>", "hunyuan_a13b", "hunyuan_a13b"),
        ("<|im_start|> <tool_call> <response> <think>", "ernie45", "ernie45"),
        ("<|tool_list_start|>", "lfm2", "none"),
        ("<function=f>{}</function><|eom_id|><|python_tag|>", "functionary_v31", "none"),
        (">>>all\n >>>${recipient}", "functionary_v32", "none"),
        ("<|python_start|>[", "pythonic", "none"),
        ("[func_name1(params_name1=params_value1)]", "pythonic", "none"),
        ("<function_calls> <think>", "olmo3", "olmo3"),
        ("[TOOL_CALLS] [ARGS]", "devstral", "none"),
        ("<|python_tag|> <tool_call>", "llama3", "none"),
        ("<|start_header_id|>ipython<|end_header_id|>", "llama3", "none"),
        ("<|start|><|message|><|eom|><|eot|><tool_call>", "none", "none"),
        ('<function name="f"><param name="x"><tool_call> <think>', "minicpm5", "minicpm5"),
    ],
)
def test_the_template_tells_the_family(template, tool_parser, reasoning_parser):
    assert choose_parsers("", "", template) == (tool_parser, reasoning_parser)


@pytest.mark.parametrize(
    ("tool_parser", "reasoning_parser", "chosen"),
    [
        ("llama3", "", ("llama3", "qwen3")),
        ("", "none", ("hermes3", "none")),
        ("none", "none", ("none", "none")),
        ("gptoss", "", ("gptoss", "gptoss")),
        ("", "gptoss", ("gptoss", "gptoss")),
    ],
)
def test_a_name_goes_before_the_template(tool_parser, reasoning_parser, chosen):
    assert choose_parsers(tool_parser, reasoning_parser, "<tool_call> <think>") == chosen


def test_the_inseparable_parsers_are_not_chosen_for_one_side():
    assert choose_parsers("none", "", "<|channel|>") == ("none", "none")
    assert choose_parsers("", "qwen3", "<|channel|>") == ("none", "qwen3")


@pytest.mark.parametrize(
    ("tool_parser", "reasoning_parser"), [("gptoss", "none"), ("hermes3", "gptoss")]
)
def test_the_inseparable_parsers_are_named_both_or_neither(tool_parser, reasoning_parser):
    (problem,) = find_parser_problems(tool_parser, reasoning_parser)
    assert problem.endswith("'gptoss' is possible for both or for neither")


def test_every_known_name_is_possible():
    for name in {*parser_names("tool_parser")} - {"gptoss"}:
        assert find_parser_problems(name, "") == []
    for name in {*parser_names("reasoning_parser")} - {"gptoss"}:
        assert find_parser_problems("", name) == []
    assert find_parser_problems("gptoss", "gptoss") == []
    assert find_parser_problems("x", "y")[1].startswith("reasoning_parser is 'y'; possible: cohere")


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("hermes", "hermes3"),
        ("llama3_json", "llama3"),
        ("llama4_json", "llama3"),
        ("llama4_pythonic", "pythonic"),
        ("phi4_mini_json", "phi4"),
        ("qwen3_coder", "qwen3coder"),
        ("qwen3_xml", "qwen3coder"),
        ("deepseek_r1", "deepseek_v3"),
        ("glm47", "glm45"),
        ("cohere_command3", "cohere"),
        ("jamba", "hunyuan_a13b"),
        ("functionary", "functionary_v32"),
    ],
)
def test_the_names_of_other_servers(alias, name):
    assert find_parser_problems(alias, "") == []
    assert choose_parsers(alias, "none", "") == (name, "none")
    assert alias not in parser_names("tool_parser")


def test_the_names_of_other_servers_for_reasoning():
    assert choose_parsers("none", "deepseek_r1", "") == ("none", "deepseek_v3")
    assert choose_parsers("none", "nemotron_v3", "") == ("none", "qwen3")
    assert choose_parsers("openai", "openai_gptoss", "") == ("gptoss", "gptoss")
    assert find_parser_problems("openai", "openai_gptoss") == []


def test_a_family_of_ovms_that_is_missing_is_named():
    name = "onyx"
    for problem in find_parser_problems(name, name):
        assert f"is '{name}': OVMS's output parser, {name}, is not here yet; possible: " in problem


def test_a_third_party_adds_a_family(register):
    register(theirs=f"{__name__}:Theirs")
    assert find_parser_problems("theirs", "theirs", is_guided=True) == []
    assert "theirs" in guided_tool_parsers()
    assert "did you mean 'theirs'?" in find_parser_problems("their", "")[0]
    text = '<muse>hm</muse><their_call>{"name": "f", "arguments": {"a": 1}}</their_call>'
    parsed = parse([text], "theirs", "theirs")
    assert (parsed.content, parsed.reasoning) == ("", "hm")
    assert parsed.calls == [("f", '{"a": 1}')]


@pytest.mark.parametrize(
    ("template", "tool_parser", "reasoning_parser"),
    [
        ("<tool_call>", "hermes3", "none"),
        ("<tool_call> their_marks", "theirs", "none"),
        ("<tool_call> <their_call> <muse>", "theirs", "theirs"),
        ("<their_call> <think>", "theirs", "qwen3"),
        ("<their_call> <think> <muse>", "theirs", "theirs"),
        ("<tool_call> <think> <muse>", "hermes3", "musing"),
    ],
)
def test_a_template_can_belong_to_a_third_partys_family(
    register, template, tool_parser, reasoning_parser
):
    register(theirs=f"{__name__}:Theirs", musing=f"{__name__}:Musing")
    assert choose_parsers("", "", template) == (tool_parser, reasoning_parser)


def test_a_third_party_can_add_a_family_that_ovms_has(register):
    register(onyx=f"{__name__}:Theirs")
    assert find_parser_problems("onyx", "onyx") == []
    assert OutputFormat("onyx").tool_parser is TheirToolParser


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("broken", "no_such_module:X", "'broken' of their-package 1.0 .* cannot be imported"),
        ("odd", "json:loads", "must be a subclass of calculators.output_parsers.ModelFamily"),
        ("empty", f"{__name__}:Empty", "Empty states no tool_parser and no reasoning_parser"),
        ("hermes3", f"{__name__}:Theirs", "'hermes3' is registered by .* and their-package"),
    ],
)
def test_a_family_that_cannot_be_used_leaves_the_others_alone(
    register, caplog, name, target, message
):
    with caplog.at_level(logging.WARNING):
        register(**{name: target})
        (problem,) = find_parser_problems(name, "")
    assert find_parser_problems("llama3", "qwen3") == []
    assert problem.startswith(f"tool_parser is '{name}': output parser '{name}'")
    assert re.search(message, problem)
    assert re.search(message, caplog.text)
