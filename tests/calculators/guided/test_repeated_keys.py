"""No key comes twice in an object of a JSON answer."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from support.guiding import accepts, compile_answer

from calculators.guided import GrammarCompiler, GrammarConstraint
from calculators.guided.repeated_keys import KeyState, QuoteTokens
from calculators.output_parsers import OutputFormat
from calculators.text.byte_table import ByteTable
from server.payloads import GenerationRequest

CompileSchema = Callable[[Any], Awaitable[GrammarConstraint]]

END = 2
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("text", "has_repeated"),
    [
        ('{"a":1,"b":2}', False),
        ('{"a":1,"a":2}', True),
        ('{"a":{"a":1},"b":{"a":1}}', False),
        ('{"a":[{"a":1},{"a":2}]}', False),
        ('{"a":{"b":{}},"a":0}', True),
        ('{"":1,"":2}', True),
        (r'{"a\"":1,"a":2}', False),
        (r'{"a\\":1,"a\\":2}', True),
        ('{"x":"\\"}{,a","y":",","z":"x"}', False),
        ('["a","a",{"a":"a"}]', False),
        ('"{a"', False),
        ('<tool_call>{"a":1}</tool_call> <tool_call>{"a":1}</tool_call>', False),
        ('[CALLS]f[ARGS]{"a":1,"a":1}', True),
    ],
)
def test_what_counts_as_a_repeated_key(text: str, has_repeated: bool) -> None:
    assert KeyState().after(text.encode()).has_repeated is has_repeated
    byte_by_byte = KeyState()
    for byte in text.encode():
        byte_by_byte = byte_by_byte.after(bytes([byte]))
    assert byte_by_byte == KeyState().after(text.encode())


async def test_a_key_is_not_written_again(compile_schema: CompileSchema, table: ByteTable) -> None:
    constraint = await compile_schema({"type": "object"})
    assert accepts(constraint, table, END, '{"a":{"a":1},"aa":[{"a":1},{"a":1}]}')
    for text in ('{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', '{"":1,"":2}', '[{"a":1,"a":2}]'):
        assert not accepts(constraint, table, END, text)


@pytest.mark.parametrize(
    ("before", "repeating"),
    [
        ("{", []),
        ('{"a":1', [',"a":', ',"a"', ',"a":"b"']),
        ('{"a":1,', ['"a"', '"a":']),
        ('{"a":1,"', ['a"', 'a":']),
        ('{"a":1,"b":"', ['","a":']),
        ('{"":1,', ['""']),
        ('{"b":{"a":1}', []),
        ('{"b":{"a":1', [',"a":', ',"a"', ',"a":"b"', '},"b":"']),
    ],
)
def test_tokens_that_write_a_key_again(before: str, repeating: list[str]) -> None:
    texts = ["a", "b", '"', 'a"', 'a":', '"a"', '"a":', ',"a"', ',"a":', ',"a":"b"', '""']
    texts += ['","a":', '},"b":"', '"}', '"x":']
    tokens = QuoteTokens(ByteTable([text.encode() for text in texts]), len(texts))
    state = KeyState().after(before.encode())
    found = tokens.repeating(state, np.zeros(len(texts), np.bool_))
    outside = {texts[i] for i in found}
    assert {*repeating} <= outside
    for text in outside:
        assert state.after(text.encode()).has_repeated, text


async def test_where_nothing_else_is_possible_a_key_comes_again(
    compile_schema: CompileSchema, table: ByteTable
) -> None:
    schema = {"patternProperties": {"^[ab]$": {"const": 1}}, "additionalProperties": False}
    constraint = await compile_schema({"type": "object", **schema})
    text = '{"a":1,"b":1,"a":1}'
    assert json.loads(text) == {"a": 1, "b": 1}
    assert accepts(constraint, table, END, text)


async def test_choices_count_their_own_keys(
    compile_schema: CompileSchema, table: ByteTable
) -> None:
    constraint = await compile_schema({"type": "object"})
    single = {raw: i for i, raw in enumerate(table.token_bytes) if len(raw) == 1}
    for byte in b'{"a":1,':
        constraint.accept(single[bytes([byte])])
    other = constraint.fork()
    for byte in b'"b":1,':
        other.accept(single[bytes([byte])])
    assert accepts(constraint, table, END, '"b":2}')
    assert not accepts(other, table, END, '"b":2}')


async def test_required_calls_have_no_key_twice(
    compiler: GrammarCompiler, table: ByteTable
) -> None:
    request = GenerationRequest("r", messages=(), tools=(TOOL,), is_tool_required=True)
    form = OutputFormat.choose("hermes3", "none", "")
    constraint = await compile_answer(compiler, request, form)
    call = '<tool_call>\n{"name": "f", "arguments": %s}\n</tool_call>'
    assert accepts(constraint, table, END, call % '{"a":1,"name":2}')
    assert not accepts(constraint, table, END, call % '{"a":1,"a":2}')
