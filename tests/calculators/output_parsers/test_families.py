import pytest

from calculators.output_parsers.families import (
    REASONING_PARSERS,
    TOOL_PARSERS,
    choose_parsers,
    find_parser_problems,
)


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
        ("[TOOL_CALLS] [ARGS]", "devstral", "none"),
        ("<|python_tag|> <tool_call>", "llama3", "none"),
        ("<|start_header_id|>ipython<|end_header_id|>", "llama3", "none"),
        ("<|start|><|message|><|eom|><|eot|><tool_call>", "none", "none"),
        ('<param name="x"><tool_call>', "none", "none"),
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
    for name in TOOL_PARSERS.keys() - {"gptoss"}:
        assert find_parser_problems(name, "") == []
    for name in REASONING_PARSERS.keys() - {"gptoss"}:
        assert find_parser_problems("", name) == []
    assert find_parser_problems("gptoss", "gptoss") == []
    assert find_parser_problems("x", "y")[1].startswith("reasoning_parser is 'y'; possible: gemma4")
