import shutil

import pytest

from calculators.output_parser_calculator import (
    OutputParserCalculator,
    OutputParserCalculatorOptions,
)
from calculators.text.tokenizer import Tokenizer
from server.graph.testing import CalculatorRunner
from server.payloads import GenerationRequest, TextChunk, TokenizedPrompt, TokenLogprobs

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
BEGUN = CALL.index(": 1}")
TOOLS = ({"type": "function", "function": {"name": "f"}},)


@pytest.fixture(scope="module")
def tokenizer(byte_level):
    return Tokenizer(byte_level.path)


def open_node(tokenizer, **options):
    runner = CalculatorRunner(
        OutputParserCalculator,
        OutputParserCalculatorOptions(**options),
        side_packets={"TOKENIZER": tokenizer},
    )
    runner.open()
    return runner


def prompt(**fields):
    fields.setdefault("messages", ({"role": "user", "content": "Hi"},))
    fields.setdefault("tools", TOOLS)
    return TokenizedPrompt(GenerationRequest("request", **fields), (1, 2), "Hi")


def chunks(*texts, index=0, finish_reason="stop", **fields):
    return [
        TextChunk(
            index, text, 2, count, finish_reason=finish_reason if count == len(texts) else None
        )
        for count, text in enumerate(texts, 1)
    ]


async def run(runner, prompt, texts):
    return (await runner.run({"PROMPT": [prompt], "TEXT": texts}))["TEXT"]


async def test_each_chunk_has_what_was_found_in_it(tokenizer):
    runner = open_node(tokenizer, tool_parser="hermes3", reasoning_parser="qwen3")
    texts = chunks("<think>\nHm", ".\n</think>\n\nI ask.\n", CALL[:BEGUN], CALL[BEGUN:], "")
    found = await run(runner, prompt(), texts)
    assert [chunk.reasoning for chunk in found] == ["Hm", ".", "", "", ""]
    assert [chunk.text for chunk in found] == ["", "I ask.", "", "", ""]
    assert [[call.arguments for call in chunk.tool_calls] for chunk in found] == [
        [],
        [],
        ['{"a"'],
        [": 1}"],
        [],
    ]
    first = found[2].tool_calls[0]
    assert (first.index, first.name) == (0, "f")
    assert first.id is not None
    assert first.id.isalnum()
    assert len(first.id) == 9
    assert (found[3].tool_calls[0].id, found[3].tool_calls[0].name) == (None, None)
    assert [chunk.finish_reason for chunk in found] == [None] * 4 + ["tool_calls"]
    assert [chunk.num_completion_tokens for chunk in found] == [1, 2, 3, 4, 5]


async def test_log_probabilities_pass_with_their_chunks(tokenizer):
    runner = open_node(tokenizer, tool_parser="hermes3")
    token = TokenLogprobs(CALL, CALL.encode(), -0.5)
    (found,) = await run(
        runner, prompt(), [TextChunk(0, CALL, 2, 1, logprobs=(token,), finish_reason="stop")]
    )
    assert found.logprobs == (token,)
    assert found.text == ""


@pytest.mark.parametrize(
    ("texts", "reason", "expected"),
    [
        (["Hello"], "stop", "stop"),
        (["Hello"], "length", "length"),
        ([CALL], "stop", "tool_calls"),
        ([CALL], "length", "length"),
        (["<tool_call>no call"], "stop", "stop"),
        # A stop string can end a call in the middle; what is broken is still a call.
        ([CALL[: BEGUN + 3]], "stop", "stop"),
        ([CALL, CALL[: BEGUN + 3]], "stop", "stop"),
        ([CALL[: BEGUN + 3], "}"], "stop", "tool_calls"),
        ([CALL[: BEGUN + 3], " oops}"], "stop", "tool_calls"),
    ],
)
async def test_the_finish_reason_tells_of_calls(tokenizer, texts, reason, expected):
    runner = open_node(tokenizer, tool_parser="hermes3")
    found = await run(runner, prompt(), chunks(*texts, finish_reason=reason))
    assert found[-1].finish_reason == expected


async def test_choices_are_parsed_apart(tokenizer):
    runner = open_node(tokenizer, tool_parser="hermes3")
    pairs = zip(chunks(CALL[:30], CALL[30:]), chunks("Hel", "lo", index=1), strict=True)
    found = await run(runner, prompt(sampling={"n": 2}), [c for pair in pairs for c in pair])
    calls = [(chunk.index, call.name) for chunk in found for call in chunk.tool_calls if call.name]
    assert calls == [(0, "f")]
    assert "".join(chunk.text for chunk in found) == "Hello"
    assert [chunk.finish_reason for chunk in found if chunk.index == 1] == [None, "stop"]


@pytest.mark.parametrize("fields", [{"tools": ()}, {"messages": None, "prompt": "Hi"}])
async def test_without_tools_and_in_completions_calls_stay_in_the_text(tokenizer, fields):
    runner = open_node(tokenizer, tool_parser="hermes3")
    texts = chunks(CALL, " ", "end")
    assert await run(runner, prompt(**fields), texts) == texts


async def test_completions_keep_the_reasoning_in_the_text(tokenizer):
    runner = open_node(tokenizer, reasoning_parser="qwen3")
    texts = chunks("<think>Hm</think>", " end")
    assert await run(runner, prompt(messages=None, prompt="Hi"), texts) == texts
    found = await run(runner, prompt(tools=()), texts)
    assert [(chunk.reasoning, chunk.text) for chunk in found] == [("Hm", ""), ("", "end")]


@pytest.mark.parametrize(
    ("template", "options", "tool_parser", "reasoning_parser"),
    [
        ("<tool_call> <think>", {}, "hermes3", "qwen3"),
        ("<tool_call> <think>", {"tool_parser": "none"}, "none", "qwen3"),
        ("<tool_call> <think>", {"reasoning_parser": "none"}, "hermes3", "none"),
        ("", {}, "none", "none"),
        ("", {"tool_parser": "hermes3"}, "hermes3", "none"),
    ],
)
def test_what_is_not_named_is_told_by_the_chat_template(
    byte_level, tmp_path, template, options, tool_parser, reasoning_parser
):
    folder = tmp_path / "model"
    shutil.copytree(byte_level.path, folder)
    (folder / "chat_template.jinja").write_text(template)
    runner = open_node(Tokenizer(folder), **options)
    found = runner.output_side_packets["OUTPUT_FORMAT"]
    assert str(found) == f"tool_parser {tool_parser}, reasoning_parser {reasoning_parser}"


def test_a_broken_template_file_is_the_tokenizer_nodes_business(byte_level, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(byte_level.path, folder)
    for file in folder.glob("chat_template*"):
        file.unlink()
    (folder / "tokenizer_config.json").write_text("{")
    runner = open_node(Tokenizer(folder))
    assert "none" in str(runner.output_side_packets["OUTPUT_FORMAT"])


def test_unknown_parsers_are_refused_with_the_possible_ones():
    with pytest.raises(ValueError, match=r"tool_parser is 'hermes4'; did you mean 'hermes3'.*none"):
        OutputParserCalculatorOptions(tool_parser="hermes4")
    with pytest.raises(ValueError, match=r"reasoning_parser is 'x'; possible: .*qwen3.*none"):
        OutputParserCalculatorOptions(reasoning_parser="x")
