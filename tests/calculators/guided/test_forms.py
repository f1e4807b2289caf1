"""Forms of an answer other than JSON: a regex, a choice, a grammar, structural tags."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.guiding import accepts, allowed, compile_answer

from calculators.guided import GrammarCompiler, GrammarConstraint
from calculators.text.byte_table import ByteTable
from server.errors import InvalidRequestError
from server.payloads import AnswerFormat, AnswerKind, GenerationRequest

Compile = Callable[[AnswerKind, Any], Awaitable[GrammarConstraint]]

END = 2
LARK = """
%llguidance {}
start: "sum(" number ("+" number)* ")"
number: DIGITS
DIGITS: /[0-9]+/
"""
# https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
GBNF = r"""
# a list of moves
root ::= move ("\n" move)*
move ::= pawn | "O-O" ("-O")?
pawn ::= ([a-h] "x")? [a-h] [1-8]
"""
TOOL = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
# As vLLM's documentation has it.
OLD_TAG = {
    "type": "structural_tag",
    "structures": [
        {"begin": "<function=f>", "schema": TOOL, "end": "</function>"},
        {"begin": "<function=g>", "schema": {"type": "object"}, "end": "</function>"},
    ],
    "triggers": ["<function="],
}


def tag(begin: str, content: Any, end: Any) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


ANY = {"type": "any_text"}
NUMBER = {"type": "json_schema", "json_schema": {"type": "integer"}}


@pytest.fixture
def compile_form(compiler: GrammarCompiler) -> Compile:
    async def compile_form(kind: AnswerKind, value: Any) -> GrammarConstraint:
        answer_format = AnswerFormat(kind, value, "structured_outputs")
        request = GenerationRequest("r", messages=(), answer_format=answer_format)
        return await compile_answer(compiler, request)

    return compile_form


@pytest.mark.parametrize(
    ("kind", "value", "good", "bad"),
    [
        ("regex", r"\d{3}-[a-z]+", ["123-abc"], ["12-abc", "123-", "123-a1"]),
        ("regex", r"^(yes|no)$", ["yes", "no"], ["", "yesno"]),
        ("regex", r"a/b\/c\\/d", [r"a/b/c\/d"], ["a"]),
        ("regex", "a\nb", ["a\nb"], ["ab"]),
        ("choice", ["blue", "green", 'a "b"\n/ß'], ["blue", 'a "b"\n/ß'], ["", "blu", "red"]),
        ("grammar", LARK, ["sum(1)", "sum(1+22)"], ["sum()", "sum(1+)"]),
        ("grammar", GBNF, ["e4", "exd5\nO-O-O"], ["e9", "", "e4\n"]),
        ("structural_tag", OLD_TAG, ["", "hi", 'so <function=f>{"a":1}</function> and',
            '<function=g>{}</function><function=f>{"a":2}</function>'],
            ["<function=h>{}</function>", "<function=f>{}</function>", '<function=f>{"a":1}']),
        ("structural_tag", {"format": tag("<a>", NUMBER, "</a>")}, ["<a>5</a>"], ["<a></a>"]),
        ("structural_tag", {"format": tag("<a>", ANY, ["</a>", "<end>"])},
            ["<a>x y</a>", "<a><end>"], ["<a>x", "<a>x</a>y"]),
        ("structural_tag", {"format": {"type": "sequence", "elements": [
            {"type": "const_string", "value": "n="}, NUMBER,
            {"type": "optional", "content": {"type": "regex", "pattern": "[a-z]"}}]}},
            ["n=5", "n=-7x"], ["5", "n=", "n=5xy"]),
        ("structural_tag", {"format": {"type": "or", "elements": [
            {"type": "grammar", "grammar": 'root ::= "x"'}, NUMBER]}}, ["x", "12"], ["y", "x1"]),
        ("structural_tag", {"format": {"type": "tags_with_separator", "separator": ",",
            "tags": [tag("[", NUMBER, "]"), tag("(", NUMBER, ")")], "at_least_one": True}},
            ["[1]", "[1],(2)"], ["", "[1](2)", "[1],"]),
        ("structural_tag", {"format": {"type": "triggered_tags", "triggers": ["<a", "<b"],
            "tags": [tag("<a>", NUMBER, "</a>"), tag("<b>", ANY, "</b>")],
            "at_least_one": True, "stop_after_first": True}},
            ["x<a>1</a>", "<b><a</b>"], ["x", "<a>1</a>y", "<a>x</a>", "<ax"]),
    ],
)  # fmt: skip
async def test_only_answers_of_the_form_are_let_through(
    compile_form: Compile,
    table: ByteTable,
    kind: AnswerKind,
    value: Any,
    good: list[str],
    bad: list[str],
) -> None:
    constraint = await compile_form(kind, value)
    for text in good:
        assert accepts(constraint, table, END, text), text
    for text in bad:
        assert not accepts(constraint, table, END, text), text


async def test_json_without_white_space(compiler: GrammarCompiler, table: ByteTable) -> None:
    answer_format = AnswerFormat("json", TOOL).without_white_space()
    request = GenerationRequest("r", messages=(), answer_format=answer_format)
    constraint = await compile_answer(compiler, request)
    assert accepts(constraint, table, END, '{"a":1}')
    assert not accepts(constraint, table, END, '{"a": 1}')


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("regex", "[a-z", "unclosed character class"),
        ("regex", "(?=a)b", "look-around"),
        ("regex", "", "the regular expression is empty"),
        ("regex", "a" * 200_000, "more than 131072 characters"),
        ("choice", ["x" * 10_000] * 20, "more than 131072 characters"),
        ("grammar", "root ::= nothing", "Rule 'nothing' not found"),
        ("grammar", "start: nothing", "nothing"),
        ("grammar", "hello", "the grammar cannot be read"),
        ("grammar", 'root ::= "a" ' + "(" * 5000, "the grammar"),
        ("grammar", 'start: "a" }\nevil: "b"', ""),
        ("structural_tag", {}, "format must be an object with a type"),
        ("structural_tag", {"format": {"type": "x"}}, "format.type 'x' is not supported"),
        ("structural_tag", {"format": {"type": "const_string"}}, "format.value must be a text"),
        ("structural_tag", {"format": {"type": "sequence", "elements": [ANY, NUMBER]}},
            "any_text before a part that is not a fixed text"),
        ("structural_tag", {"format": tag("<a>", {"type": "tag"}, "b")},
            "format.content.begin must be a text"),
        ("structural_tag", {"structures": [{"begin": "x"}], "triggers": ["y"]},
            "format.tags[0].begin starts with none of the triggers"),
        ("structural_tag", {"structures": "x"}, "structures must be a list"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
async def test_what_cannot_be_followed_is_refused(
    compile_form: Compile, kind: AnswerKind, value: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError) as error:
        await compile_form(kind, value)
    assert str(error.value).startswith("structured_outputs: ")
    assert message in str(error.value)
    assert len(str(error.value)) < 400
    assert error.value.param == "structured_outputs"


async def test_a_deep_tag_is_refused(compile_form: Compile) -> None:
    deep: Any = NUMBER
    for _ in range(100):
        deep = {"type": "optional", "content": deep}
    with pytest.raises(InvalidRequestError, match="is too large"):
        await compile_form("structural_tag", {"format": deep})


async def test_ten_thousand_choices(compile_form: Compile) -> None:
    assert allowed(await compile_form("choice", [f"value {i}" for i in range(10_000)]))
