"""Grammars of JSON schemas over real tokens: what they allow, and what is refused."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from support.guiding import accepts, allowed, write

from calculators.guided import Grammar, GrammarCompiler, GrammarConstraint
from calculators.guided.compiler import MAX_CACHED_GRAMMARS
from calculators.text.byte_table import ByteTable
from server.errors import InvalidRequestError, ModelNotReadyError

CompileSchema = Callable[[Any], Awaitable[GrammarConstraint]]

END = 2
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
LIST = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["next"],
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            PERSON,
            ['{"name":"a","age":1}', '{ "name" : "ß\\n😀",\n  "age": -12 }'],
            ['{"name":"a"}', '{"age":1,"name":"a"}', '{"name":"a","age":1.5}', "{}", "[]", ""],
        ),
        ({"type": "object"}, ["{}", '{"a":[1,{"b":null}]}'], ["[]", "1", '"x"', "{", " {}"]),
        (LIST, ['{"next":null}', '{"next":{"next":null}}'], ['{"next":1}', "null"]),
        ({"enum": ["日本", 5, None]}, ['"日本"', "5", "null"], ['"日"', "6"]),
        ({}, ["1", '"x"', "[]", "true"], ["x", "tru"]),
        ({"type": "string", "pattern": "^[a-c]+$"}, ['"abc"'], ['"abd"', '""']),
        ({"multipleOf": 0.25, "type": "number"}, ["1.25", "3"], ["1.3"]),
        ({"type": "array", "maxItems": 1}, ["[]", "[1]"], ["[1,2]"]),
        ({"const": "<|im_end|>"}, ['"<|im_end|>"'], ['""']),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
async def test_only_what_satisfies_a_schema_is_let_through(
    compile_schema: CompileSchema,
    table: ByteTable,
    schema: Any,
    good: list[str],
    bad: list[str],
) -> None:
    constraint = await compile_schema(schema)
    for text in good:
        assert accepts(constraint, table, END, text), text
    for text in bad:
        assert not accepts(constraint, table, END, text), text


async def test_random_answers_are_json(compile_schema: CompileSchema, table: ByteTable) -> None:
    constraint = await compile_schema(PERSON)
    for seed in range(20):
        found = json.loads(write(constraint, table, END, seed))
        assert set(found) == {"name", "age"}
        assert isinstance(found["age"], int)


async def test_white_space_does_not_go_on_forever(
    compile_schema: CompileSchema, table: ByteTable
) -> None:
    constraint = await compile_schema({"type": "object"})
    value = {"a": [1, {"b": []}], "c": "  "}
    for indent in (None, 0, 1, 2, 4, 8, "\t"):
        assert accepts(constraint, table, END, json.dumps(value, indent=indent))
    assert accepts(constraint, table, END, json.dumps(value, separators=(",", ":")))
    for space in ("  ", "\n\n", "\n" + " " * 25, " \n", "\t"):
        assert not accepts(constraint, table, END, "{" + space + "}")


async def test_no_special_token_is_text_and_none_is_beyond_the_tokenizer(
    compile_schema: CompileSchema, table: ByteTable
) -> None:
    constraint = await compile_schema({"type": "string"})
    constraint.accept(table.token_bytes.index(b'"'))
    assert not set(table.special_bytes) & set(allowed(constraint))
    assert max(allowed(constraint)) < len(table.token_bytes)
    assert len(constraint.forbidden_tokens()) == len(table.token_bytes) + 5


async def test_all_end_tokens_end_it(compile_schema: CompileSchema, table: ByteTable) -> None:
    constraint = await compile_schema({"const": 1})
    constraint.accept(table.token_bytes.index(b"1"))
    assert allowed(constraint) == [0, 2]


async def test_copies_go_on_independently(compile_schema: CompileSchema, table: ByteTable) -> None:
    constraint = await compile_schema({"enum": [12, 34]})
    one, three = (table.token_bytes.index(raw) for raw in (b"1", b"3"))
    before = allowed(constraint)
    first, second = constraint.fork(), constraint.fork()
    first.accept(one)
    second.accept(three)
    assert allowed(first) == [table.token_bytes.index(b"2")]
    assert allowed(second) == [table.token_bytes.index(b"4")]
    assert allowed(constraint) == before


def nested(keyword: str, levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {keyword: [schema, {"type": "null"}] if keyword.endswith("Of") else schema}
    return schema


BAD_SCHEMAS: list[tuple[Any, str]] = [
    (nested("oneOf", 45), "/oneOf: a value could satisfy option"),
    (
        {"$defs": {"a": {"propertyNames": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        "it refers to itself in a way that cannot be followed",
    ),
    ({"not": {}}, "no answer can satisfy it"),
    ({"not": {"pattern": "a"}}, 'Unimplemented keys: ["not"]'),
    ({"type": "array", "uniqueItems": True}, 'Unimplemented keys: ["uniqueItems"]'),
    ({"if": {}, "then": {"type": "null"}}, 'Unimplemented keys: ["if", "then"]'),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "/oneOf: a value could satisfy option"),
    ({"type": "strin"}, "Invalid type: strin"),
    ({"type": 5}, "type must be a string or array of strings"),
    ({"type": "string", "pattern": "[a-z"}, "unclosed character class"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"type": "string", "format": 5}, "Expected string for 'format', got 5"),
    ({"$ref": "#/$defs/none"}, "Pointer '/$defs/none' does not exist"),
    ({"$ref": "https://example.com/s.json"}, "https://example.com/s.json"),
    ({"$ref": "#"}, "no answer can satisfy it"),
    ({"allOf": [{"$ref": "#"}]}, "no answer can satisfy it"),
    ({"enum": []}, "Unsatisfiable"),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "'a' is unsatisfiable"),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "Unsatisfiable"),
    ({"properties": {"\ud800": {}}}, "unexpected end of hex escape"),
    ({"type": "number", "minimum": float("inf")}, ""),
    ({"type": "string", "pattern": "(" * 9000}, "error: unclosed group"),
    ({"enum": [f"{i}" * 40 for i in range(1500)], "pattern": "a" * 3000}, ""),
    ({"allOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in range(9)]} for i in range(9)]}, ""),
]


@pytest.mark.parametrize(("schema", "message"), BAD_SCHEMAS, ids=lambda value: str(value)[:40])
async def test_a_schema_that_cannot_be_followed_is_refused(
    compile_schema: CompileSchema, schema: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError) as error:
        await compile_schema(schema)
    told = str(error.value)
    assert told.startswith("response_format: ")
    assert message in told
    assert "%" not in told, "our grammar is none of the client's business"
    assert "\n" not in told
    assert len(told) < 350
    assert error.value.param == "response_format"


def reference_chain(make: Callable[[Any], Any], length: int) -> Any:
    definitions = {f"d{i}": make({"$ref": f"#/$defs/d{i + 1}"}) for i in range(length)}
    return {"$defs": {**definitions, f"d{length}": {"type": "string"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [f"value {i}" for i in range(10_000)]},
        reference_chain(lambda ref: ref, 1990),
        reference_chain(lambda ref: {"type": "array", "items": ref}, 990),
        reference_chain(lambda ref: {"anyOf": [{"type": "integer"}, ref]}, 660),
        reference_chain(lambda ref: {"type": "object", "properties": {"a": ref}}, 660),
        reference_chain(lambda ref: {"allOf": [ref]}, 990),
        nested("anyOf", 45),
        nested("propertyNames", 90),
        {"properties": {"a": nested("items", 90)}},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
        {"type": "string", "pattern": "^(((a{1,1000}){1,1000}){1,1000}|.*a.{300}b)$"},
    ],
    ids=lambda schema: str(schema)[:50],
)
async def test_a_large_schema_is_compiled(compile_schema: CompileSchema, schema: Any) -> None:
    assert allowed(await compile_schema(schema))


async def test_any_of_many_optional_properties_can_come(
    compile_schema: CompileSchema, table: ByteTable
) -> None:
    properties = {f"p{i}": {"type": "integer"} for i in range(1990)}
    constraint = await compile_schema({"type": "object", "properties": properties})
    for text in ("{}", '{"p0": 1}', '{"p7": 1, "p1989": 2}'):
        assert accepts(constraint, table, END, text)
    assert not accepts(constraint, table, END, '{"p7": "x"}')


async def test_a_schema_that_becomes_too_complex_ends_with_an_error(
    compile_schema: CompileSchema, table: ByteTable
) -> None:
    constraint = await compile_schema({"type": "string", "pattern": "^(.*[a-m].{300}[n-z].*)+$"})
    rng = np.random.default_rng(0)
    letters = [i for i, raw in enumerate(table.token_bytes) if raw.isalpha() and len(raw) > 1]
    constraint.accept(table.token_bytes.index(b'"'))
    tokens = [int(rng.choice(letters)) for _ in range(2000)]

    def write_on() -> None:
        for token in tokens:
            constraint.accept(token)
            constraint.forbidden_tokens()

    with pytest.raises(InvalidRequestError, match="response_format: it is too complex: lexer"):
        write_on()


async def test_a_model_without_an_end_token_is_refused(table: ByteTable) -> None:
    compiler = GrammarCompiler(table, len(table.token_bytes), (10**6,))
    with pytest.raises(InvalidRequestError, match="f: this model has no end token"):
        await compiler.compile(lambda: Grammar('start: "a"', "f"))
    compiler.close()


async def test_the_event_loop_is_free_while_a_grammar_is_compiled(
    compiler: GrammarCompiler,
) -> None:
    is_free = threading.Event()

    def make_grammar() -> Grammar:
        assert is_free.wait(60)
        return Grammar('start: "a"', "f")

    compiling = asyncio.create_task(compiler.compile(make_grammar))
    await asyncio.sleep(0)
    is_free.set()
    await compiling


async def test_what_was_asked_before_the_end_is_compiled(table: ByteTable) -> None:
    compiler = GrammarCompiler(table, len(table.token_bytes), (END,))
    may_go_on = threading.Event()

    def make_grammar() -> Grammar:
        assert may_go_on.wait(60)
        return Grammar('start: "a"', "f")

    tasks = [asyncio.create_task(compiler.compile(make_grammar)) for _ in range(3)]
    await asyncio.sleep(0)
    compiler.close()
    may_go_on.set()
    for constraint in await asyncio.gather(*tasks):
        assert allowed(constraint)
    with pytest.raises(ModelNotReadyError, match="being unloaded"):
        await compiler.compile(make_grammar)


async def test_a_grammar_is_compiled_once_and_forgotten_at_last(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    compile_new = compiler._compile_new

    def note(grammar: Grammar) -> GrammarConstraint:
        compiled.append(grammar.lark)
        return compile_new(grammar)

    monkeypatch.setattr(compiler, "_compile_new", note)
    for text in ("a", "b", "a"):
        constraint = await compiler.compile(lambda text=text: Grammar(f'start: "{text}"', "f"))
        assert len(allowed(constraint)) == 1
        constraint.accept(allowed(constraint)[0])
    assert len(compiled) == 2
    for number in range(MAX_CACHED_GRAMMARS):
        await compiler.compile(lambda number=number: Grammar(f'start: "{number}"', "f"))
    await compiler.compile(lambda: Grammar('start: "a"', "f"))
    assert len(compiled) == 2 + MAX_CACHED_GRAMMARS + 1
    assert len(compiler._compiled) == MAX_CACHED_GRAMMARS
