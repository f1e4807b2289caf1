"""LFM2 and LFM2.5: <|tool_call_start|>[name(key="value")]<|tool_call_end|>, a list in Python.

https://docs.liquid.ai/lfm/key-concepts/tool-use
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator

from calculators.output_parsers.block_tool_parser import BlockToolParser, Call
from calculators.output_parsers.families.qwen3 import Qwen3ReasoningParser
from calculators.output_parsers.model_family import ModelFamily

__all__ = ["Lfm2", "Lfm2ToolParser"]


_NAME = re.compile(r"[\w.-]+")


class Lfm2ToolParser(BlockToolParser):
    """Reads a list of Python calls with literal arguments, or a JSON list of calls."""

    begin = "<|tool_call_start|>"
    end = "<|tool_call_end|>"
    markers = (begin, end)

    def read_calls(self, text: str) -> list[Call]:
        """Read the list; raises ValueError for any other text."""
        try:
            return list(_read_list(text.strip()))
        except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise ValueError(f"no list of calls: {error}") from error


def _read_list(text: str) -> Iterator[Call]:
    with warnings.catch_warnings():
        # Models write "\d" in strings.
        warnings.simplefilter("ignore")
        expression = ast.parse(text, mode="eval").body
    if not (isinstance(expression, ast.List) and expression.elts):
        raise ValueError("no list")
    yield from map(_read_call, expression.elts)


def _read_call(node: ast.expr) -> Call:
    if isinstance(node, ast.Call) and not node.args:
        name: object = ast.unparse(node.func)
        arguments: object = dict(map(_read_argument, node.keywords))
    else:
        members = _evaluate(node)
        if not isinstance(members, dict):
            raise ValueError("no call")
        name, arguments = members.get("name"), members.get("arguments")
    if not (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(arguments, dict)):
        raise ValueError("no call")
    return Call(name, json.dumps(arguments, ensure_ascii=False, allow_nan=False))


def _read_argument(node: ast.keyword) -> tuple[str, object]:
    if node.arg is None:
        raise ValueError("an argument without a name")
    return node.arg, _evaluate(node.value)


def _evaluate(node: ast.expr) -> object:
    """The value of a literal, in Python's or JSON's spelling."""
    return ast.literal_eval(ast.fix_missing_locations(_JsonNames().visit(node)))


class _JsonNames(ast.NodeTransformer):
    """true, false and null as Python writes them."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        constants = {"true": True, "false": False, "null": None}
        return ast.Constant(constants[node.id]) if node.id in constants else node


class Lfm2(ModelFamily):
    """Tool and reasoning parser of LFM2 and LFM2.5: a list of Python calls, and <think> tags."""

    tool_parser = Lfm2ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<|tool_call_start|>",), ("keep_past_thinking",))
    reasoning_marks = ("<think>", "</think>")
