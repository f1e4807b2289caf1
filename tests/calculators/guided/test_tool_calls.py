"""Tool calls constrained to the tools' schemas, in each family's form, read back by its parser."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.guiding import accepts, allowed, compile_answer, write
from support.parsing import parse

from calculators.guided import GrammarCompiler, GrammarConstraint, has_grammar
from calculators.output_parsers import OutputFormat
from calculators.output_parsers.families.gptoss import GptOssReasoningParser
from calculators.text.byte_table import ByteTable
from server.errors import InvalidRequestError
from server.payloads import AnswerFormat, GenerationRequest

END, PYTHON_TAG = 256, 257
# Tokens of single bytes, and two special ones.
BYTES = ByteTable(
    [*(bytes([i]) for i in range(256)), b"", b""],
    special_bytes={END: b"<|eot_id|>", PYTHON_TAG: b"<|python_tag|>"},
)

ADD = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"enum": ["ß", 2]}},
    "required": ["x", "y"],
    "additionalProperties": False,
}
TOOLS = (
    {"type": "function", "function": {"name": "add", "parameters": ADD}},
    {"type": "function", "function": {"name": "add_all", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "no_parameters"}},
)
ONE = '{"x": 1, "y": "ß"}'
BAD = '{"x": "one"}'

# What stands before the calls, one call, what is between calls, and what is behind them.
FORMS = {
    "hermes3": ("", '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>', "\n", ""),
    "llama3": ("<|python_tag|>", '{"name": "%s", "parameters": %s}', "; ", ""),
    "phi4": ("functools[", '{"name": "%s", "arguments": %s}', ", ", "]"),
    "devstral": ("", "[TOOL_CALLS]%s[ARGS]%s", "", ""),
    "mistral": ("[TOOL_CALLS][", '{"name": "%s", "arguments": %s}', ", ", "]"),
    "granite": ("<|tool_call|>[", '{"name": "%s", "arguments": %s}', ", ", "]"),
    "nemotron": ("<TOOLCALL>[", '{"name": "%s", "arguments": %s}', ", ", "]</TOOLCALL>"),
    "hunyuan_a13b": ("<tool_calls>[", '{"name": "%s", "arguments": %s}', ", ", "]</tool_calls>"),
    "xlam": ("<tool_call>[", '{"name": "%s", "arguments": %s}', ", ", "]</tool_call>"),
    "cohere": (
        "<|START_ACTION|>[\n",
        '    {"tool_call_id": "0", "tool_name": "%s", "parameters": %s}',
        ",\n",
        "\n]<|END_ACTION|>",
    ),
    "internlm": (
        "",
        '<|action_start|><|plugin|>\n{"name": "%s", "parameters": %s}<|action_end|>',
        "\n",
        "",
    ),
    "deepseek_v3": (
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>%s\n```json\n%s\n```<｜tool▁call▁end｜>",
        "\n",
        "<｜tool▁calls▁end｜>",
    ),
    "deepseek_v31": (
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>%s<｜tool▁sep｜>%s<｜tool▁call▁end｜>",
        "",
        "<｜tool▁calls▁end｜>",
    ),
    "kimi_k2": (
        "<|tool_calls_section_begin|>",
        "<|tool_call_begin|>functions.%s:0<|tool_call_argument_begin|>%s<|tool_call_end|>",
        "",
        "<|tool_calls_section_end|>",
    ),
    "functionary_v31": ("", "<function=%s>%s</function>", "", ""),
}
FORMS["granite4"] = FORMS["ernie45"] = FORMS["hermes3"]
CALLS = {name: begin + call + end for name, (begin, call, _, end) in FORMS.items()}
TWO_CALLS = {
    name: begin + between.join([call] * 2) + end
    for name, (begin, call, between, end) in FORMS.items()
}

all_families = pytest.mark.parametrize("family", FORMS)


@pytest.fixture
def compiler() -> Iterator[GrammarCompiler]:
    compiler = GrammarCompiler(BYTES, 258, (END,))
    yield compiler
    compiler.close()


async def guide(
    compiler: GrammarCompiler,
    family: str,
    reasoning: str = "none",
    prompt: str = "",
    **fields: Any,
) -> GrammarConstraint:
    request = GenerationRequest("r", messages=(), **{"tools": TOOLS, **fields})
    output_format = OutputFormat.choose(family, reasoning, "")
    return await compile_answer(compiler, request, output_format, prompt)


def is_answer(constraint: GrammarConstraint, text: str) -> bool:
    return accepts(constraint, BYTES, END, text)


@all_families
async def test_required_calls(compiler: GrammarCompiler, family: str) -> None:
    constraint = await guide(compiler, family, is_tool_required=True)
    call, two = CALLS[family], TWO_CALLS[family]
    assert is_answer(constraint, call % ("add", ONE))
    assert is_answer(constraint, call % ("add_all", '{"z": [1]}'))
    assert is_answer(constraint, call % ("no_parameters", "{}"))
    assert is_answer(constraint, two % ("add", ONE, "no_parameters", "{}"))
    for text in (
        "",
        "I will not",
        "x" + call % ("add", ONE),
        call % ("add", BAD),
        call % ("ad", ONE),
        call % ("no_parameters", "[]"),
        call % ("other", "{}"),
        call % ("add", ONE) + " and more",
        two % ("add", ONE, "add", BAD),
    ):
        assert not is_answer(constraint, text), text


@all_families
async def test_one_call_alone(compiler: GrammarCompiler, family: str) -> None:
    for is_required in (True, False):
        constraint = await guide(
            compiler, family, is_tool_required=is_required, parallel_tool_calls=False
        )
        assert is_answer(constraint, CALLS[family] % ("add", ONE))
        assert not is_answer(constraint, TWO_CALLS[family] % ("add", ONE, "add", ONE))
        assert is_answer(constraint, "just text") is not is_required


@all_families
async def test_calls_in_a_free_text(compiler: GrammarCompiler, family: str) -> None:
    constraint = await guide(compiler, family)
    call, two = CALLS[family], TWO_CALLS[family]
    for text in (
        "",
        "No call, but {}[]<>\n and ß.",
        call % ("add", ONE),
        "First:\n" + call % ("add", ONE),
        two % ("add", ONE, "add_all", '{"a": null}') + "\nDone.",
        call % ("add", ONE) + " text " + call % ("add", ONE),
    ):
        assert is_answer(constraint, text), text
    for text in (
        call % ("add", BAD),
        "First: " + call % ("other", ONE),
        call % ("add", ONE) + " text " + call % ("add", BAD),
    ):
        assert not is_answer(constraint, text), text


@all_families
async def test_parsers_read_what_is_written(compiler: GrammarCompiler, family: str) -> None:
    tools = TOOLS[:1]
    constraint = await guide(compiler, family, is_tool_required=True, tools=tools)
    for seed in range(10):
        parsed = parse([write(constraint, BYTES, END, seed)], family)
        assert parsed.content == ""
        for name, arguments in parsed.calls:
            assert name == "add"
            found = json.loads(arguments)
            assert isinstance(found["x"], int)
            assert found["y"] in ("ß", 2)
        assert parsed.calls
    two = TWO_CALLS[family] % ("add", ONE, "add", ONE)
    assert parse([two], family).calls == [("add", ONE), ("add", ONE)]


async def test_a_special_token_of_the_form_is_text(compiler: GrammarCompiler) -> None:
    constraint = await guide(compiler, "llama3", is_tool_required=True)
    assert set(allowed(constraint)) == {PYTHON_TAG, ord("<")}
    constraint.accept(PYTHON_TAG)
    assert allowed(constraint) == [ord("{")]
    constraint = await guide(compiler, "hermes3")
    assert PYTHON_TAG not in allowed(constraint)


async def test_json_or_calls(compiler: GrammarCompiler) -> None:
    schema = {"type": "integer"}
    constraint = await guide(compiler, "hermes3", answer_format=AnswerFormat("json", schema))
    assert is_answer(constraint, "12")
    assert is_answer(constraint, CALLS["hermes3"] % ("add", ONE))
    assert not is_answer(constraint, "text")
    constraint = await guide(
        compiler, "hermes3", answer_format=AnswerFormat("json", schema), is_tool_required=True
    )
    assert not is_answer(constraint, "12")
    constraint = await guide(compiler, "none", answer_format=AnswerFormat("json", schema))
    assert is_answer(constraint, "12")
    assert not is_answer(constraint, CALLS["hermes3"] % ("add", ONE))


CALL, BAD_CALL = CALLS["hermes3"] % ("add", ONE), CALLS["hermes3"] % ("add", BAD)


async def test_reasoning_comes_first(compiler: GrammarCompiler) -> None:
    constraint = await guide(compiler, "hermes3", "qwen3", is_tool_required=True)
    assert is_answer(constraint, CALL)
    for thought in ("<think>x</think>", "<think>\na <tool_call> b\n</think>\n\n"):
        assert is_answer(constraint, thought + CALL)
        assert not is_answer(constraint, thought + BAD_CALL)
        assert not is_answer(constraint, thought)
    constraint = await guide(
        compiler, "none", "qwen3", tools=(), answer_format=AnswerFormat("json", {"type": "integer"})
    )
    assert is_answer(constraint, "5")
    assert is_answer(constraint, "<think>\nWhat?\n</think>\n\n5")
    assert not is_answer(constraint, "<think>\nWhat?\n</think>\n\nfive")


async def test_reasoning_that_the_prompt_began(compiler: GrammarCompiler) -> None:
    prompt = "<|im_start|>assistant\n<think>\n"
    constraint = await guide(compiler, "hermes3", "qwen3", prompt, is_tool_required=True)
    assert is_answer(constraint, "I think.\n</think>\n\n" + CALL)
    assert not is_answer(constraint, CALL)


async def test_calls_are_free_in_reasoning(compiler: GrammarCompiler) -> None:
    constraint = await guide(compiler, "hermes3", "qwen3")
    for text in ("", "no <think>", CALL, f"<think>{BAD_CALL}</think>{CALL}", f"a <think>{CALL}"):
        assert is_answer(constraint, text), text
    for text in (BAD_CALL, f"<think>{CALL}</think>{BAD_CALL}", f"a <think>{BAD_CALL}"):
        assert not is_answer(constraint, text), text


HARMONY_THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
HARMONY_CALL = "<|channel|>commentary to=functions.add <|constrain|>json<|message|>"
FINAL = "<|channel|>final<|message|>"


@pytest.mark.parametrize("thought", ["", HARMONY_THOUGHT])
async def test_an_answer_in_messages(compiler: GrammarCompiler, thought: str) -> None:
    async def allows(text: str, **fields: Any) -> bool:
        return is_answer(await guide(compiler, "gptoss", "gptoss", **fields), thought + text)

    form = AnswerFormat("json", {"type": "integer"})
    assert await allows(f"{FINAL}5", answer_format=form, tools=())
    assert not await allows("5", answer_format=form, tools=())
    assert not await allows(f"{FINAL}five", answer_format=form, tools=())
    assert await allows(f"{FINAL}5", answer_format=form)
    assert await allows(HARMONY_CALL + ONE, answer_format=form)
    two = f"{HARMONY_CALL}{ONE}<|call|><|start|>assistant{HARMONY_CALL}{ONE}"
    for text in (HARMONY_CALL + ONE, two):
        assert await allows(text, is_tool_required=True)
        assert await allows(text)
        assert parse([thought + text], "gptoss", "gptoss").calls[0] == ("add", ONE)
    assert not await allows(HARMONY_CALL + BAD, is_tool_required=True)
    assert not await allows(f"{FINAL}5", is_tool_required=True)
    assert await allows(f"{FINAL}Hello")
    assert not await allows(HARMONY_CALL + BAD)
    assert not await allows(two, parallel_tool_calls=False)


async def test_reasoning_of_an_unknown_form_cannot_be_constrained(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GptOssReasoningParser, "messages", None)
    with pytest.raises(
        InvalidRequestError,
        match="response_format: this model writes reasoning and answer in one form",
    ):
        await guide(compiler, "gptoss", "gptoss", answer_format=AnswerFormat("json", {}), tools=())


@pytest.mark.parametrize("family", ["none", "functionary_v32"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"is_tool_required": True}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        (
            {"parallel_tool_calls": False, "answer_format": AnswerFormat("json", {})},
            "parallel_tool_calls",
        ),
    ],
)
async def test_a_family_without_a_grammar_is_refused(
    compiler: GrammarCompiler, family: str, fields: Any, param: str
) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be constrained.* tool parser") as error:
        await guide(compiler, family, **fields)
    assert error.value.param == param


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ({"name": 'a"b'}, "tools: a call of 'a\"b' cannot be told"),
        ({"name": "a\nb"}, "cannot be told"),
        ({"name": "a[ARGS]"}, "cannot be told"),
        ({"name": "f", "parameters": {"not": {}}}, "the parameters of 'f': no answer can satisfy"),
        ({"name": "f", "parameters": {"if": {}, "then": {"minProperties": 1}}}, "Unimplemented"),
        ({"name": "f", "parameters": {"type": "strin"}}, "the parameters of 'f': Invalid type"),
        ({"name": "f", "parameters": {"allOf": [{"type": "array"}]}}, "the parameters of 'f': Uns"),
        ({"name": "f", "parameters": {"anyOf": [{}] * 2000}}, "tools: too many objects"),
    ],
)
async def test_a_tool_that_cannot_be_guided_is_named(
    compiler: GrammarCompiler, function: Any, message: str
) -> None:
    bad = {"type": "function", "function": function}
    with pytest.raises(InvalidRequestError, match=message) as error:
        await guide(
            compiler, "hermes3", tools=(*TOOLS, bad), answer_format=AnswerFormat("json", {})
        )
    assert error.value.param == "tools"


def test_which_requests_have_a_grammar() -> None:
    def has(guides_tools: bool, **fields: Any) -> bool:
        return has_grammar(GenerationRequest("r", **fields), guides_tools=guides_tools)

    assert not has(True)
    assert not has(False, tools=TOOLS)
    assert not has(True, parallel_tool_calls=False)
    assert has(True, tools=TOOLS)
    assert has(False, tools=TOOLS, parallel_tool_calls=False)
    assert has(False, tools=TOOLS, is_tool_required=True)
    assert has(False, answer_format=AnswerFormat("json", {}))


async def test_many_tools(compiler: GrammarCompiler) -> None:
    tools = tuple(
        {"type": "function", "function": {"name": f"tool_{i}", "parameters": ADD}}
        for i in range(128)
    )
    constraint = await guide(compiler, "hermes3", tools=tools)
    assert is_answer(constraint, CALLS["hermes3"] % ("tool_127", ONE))
