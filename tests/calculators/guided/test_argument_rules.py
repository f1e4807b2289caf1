"""Tool calls without JSON objects, constrained to the schemas and read back by the parser."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.family_templates import write_calls
from support.guiding import accepts, compile_answer, write
from support.parsing import parse

from calculators.guided import GrammarCompiler, GrammarConstraint
from calculators.output_parsers import OutputFormat, guided_tool_parsers
from calculators.output_parsers.registry import families
from calculators.text.byte_table import ByteTable
from server.errors import InvalidRequestError
from server.payloads import GenerationRequest

END = 256
BYTES = ByteTable([*(bytes([i]) for i in range(256)), b""], special_bytes={END: b"<|end|>"})

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", 1]},
        "point": {"$ref": "#/$defs/Point"},
        "places": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "label": {"type": ["string", "null"]},
    },
    "required": ["city", "unit"],
}
TOOLS = (
    {"type": "function", "function": {"name": "f", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "g"}},
    {
        "type": "function",
        "function": {
            "name": "get-it",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
            },
        },
    },
)
FAMILIES = [
    name
    for name in guided_tool_parsers()
    if families()[name].tool_parser.frame.argument is not None
]
all_families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def compiler() -> Iterator[GrammarCompiler]:
    compiler = GrammarCompiler(BYTES, 257, (END,))
    yield compiler
    compiler.close()


async def guide(compiler: GrammarCompiler, family: str, **fields: Any) -> GrammarConstraint:
    request = GenerationRequest("r", messages=(), **{"tools": TOOLS, **fields})
    return await compile_answer(compiler, request, OutputFormat.choose(family, "none", ""))


def written(family: str, *calls: tuple[str, dict[str, Any]]) -> str:
    """As the chat template writes them, in the order and with the quotes of the grammar."""
    if family == "pythonic":
        return f"<|python_start|>{write_calls(family, calls)}<|python_end|>"
    if family != "lfm2":
        return write_calls(family, calls).strip("\n")
    inside = write_calls("pythonic", calls)
    return f"<|tool_call_start|>{inside}<|tool_call_end|>"


def is_answer(constraint: GrammarConstraint, text: str) -> bool:
    return accepts(constraint, BYTES, END, text)


@all_families
async def test_required_calls(compiler: GrammarCompiler, family: str) -> None:
    constraint = await guide(compiler, family, is_tool_required=True)
    least = {"city": "a", "unit": 1}
    good: list[list[tuple[str, dict[str, Any]]]] = [
        [("f", least)],
        [("get-it", {})],
        [("get-it", {"a": 1})],
        [("get-it", {"a": -1})],
        [("g", {}), ("f", least), ("get-it", {"a": 5})],
    ]
    for calls in good:
        assert is_answer(constraint, written(family, *calls)), calls
    for name, arguments in (
        ("f", {"unit": "C"}),
        ("f", {"city": "a", "unit": "K"}),
        ("f", {"city": "a", "days": "three", "unit": "C"}),
        ("f", {"city": "a", "other": 1, "unit": "C"}),
        ("get-it", {"a": 1.5}),
        ("h", {}),
    ):
        assert not is_answer(constraint, written(family, (name, arguments))), arguments
    call = written(family, ("f", least))
    for text in ("", "Hello", f"x{call}", f"{call} and more"):
        assert not is_answer(constraint, text), text


@all_families
async def test_calls_in_a_free_text(compiler: GrammarCompiler, family: str) -> None:
    constraint = await guide(compiler, family)
    call = written(family, ("get-it", {"a": 1}))
    for text in ("", "No call: <>[]", call, f"First: {call}"):
        assert is_answer(constraint, text), text
    assert not is_answer(constraint, f"First: {written(family, ('h', {}))}")
    constraint = await guide(compiler, family, parallel_tool_calls=False)
    assert is_answer(constraint, call)
    assert not is_answer(constraint, written(family, ("g", {}), ("g", {})))


@all_families
async def test_parsers_read_what_is_written(compiler: GrammarCompiler, family: str) -> None:
    # A random text would hardly ever be ended by a tag.
    cities = ["Zürich, a", "<b> 'c'"]
    properties = {**PARAMETERS["properties"], "city": {"enum": cities}}
    del properties["label"]
    parameters = {**PARAMETERS, "properties": properties}
    tools = ({"type": "function", "function": {"name": "f", "parameters": parameters}},)
    constraint = await guide(compiler, family, is_tool_required=True, tools=tools)
    for seed in range(8):
        text = write(constraint, BYTES, END, seed)
        parsed = parse([text], family, tools=tools)
        assert parsed.content == "", text
        assert parsed.calls, text
        for name, arguments in parsed.calls:
            found = json.loads(arguments)
            assert name == "f"
            assert {"city", "unit"} <= {*found} <= {*properties}
            assert found["city"] in cities
            assert found["unit"] in ("C", 1)
            assert isinstance(found.get("days", 0), int)
            assert isinstance(found.get("point", {}), dict)
            assert isinstance(found.get("places", []), list)


@all_families
async def test_an_argument_whose_name_is_a_tag_is_refused(
    compiler: GrammarCompiler, family: str
) -> None:
    parameters = {"type": "object", "properties": {"a>b": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(InvalidRequestError, match="tools: an argument 'a>b' cannot be told"):
        await guide(compiler, family, tools=(tool,))


@all_families
async def test_any_arguments(compiler: GrammarCompiler, family: str) -> None:
    tools = ({"type": "function", "function": {"name": "f"}},)
    constraint = await guide(compiler, family, is_tool_required=True, tools=tools)
    for arguments in ({}, {"a": "x"}, {"a": "x", "b_c": "y"}):
        assert is_answer(constraint, written(family, ("f", arguments)))
    closed = {"type": "object", "additionalProperties": False}
    tools = ({"type": "function", "function": {"name": "f", "parameters": closed}},)
    constraint = await guide(compiler, family, is_tool_required=True, tools=tools)
    assert is_answer(constraint, written(family, ("f", {})))
    assert not is_answer(constraint, written(family, ("f", {"a": "x"})))


async def test_references_that_make_a_large_grammar_are_refused(compiler: GrammarCompiler) -> None:
    large = {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(1000)}}
    parameters = {
        "type": "object",
        "$defs": {"Large": large},
        "properties": {f"a{i}": {"$ref": "#/$defs/Large"} for i in range(200)},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(InvalidRequestError, match="tools: the parameters of 'f' have too many ref"):
        await guide(compiler, "qwen3coder", tools=(tool,))
