"""Qwen 3 Coder: <function=name><parameter=key>value</parameter></function> in <tool_call> tags."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from calculators.output_parsers.json_scanner import read_json
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import ToolParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["Qwen3Coder", "Qwen3CoderToolParser"]

BEGIN = "<tool_call>"
END = "</tool_call>"
FUNCTION = "<function="
FUNCTION_END = "</function>"
PARAMETER = "<parameter="
PARAMETER_END = "</parameter>"
MAX_NAME_LENGTH = 300

LITERALS = {"true": "true", "false": "false", "null": "null", "none": "null"}


class Qwen3CoderToolParser(ToolParser):
    """Turns the parameters into JSON, by their types in the request's tools.

    Values are plain text. A string becomes a JSON string while it arrives; other values are JSON
    when they are complete. A value that does not fit its type becomes a string.
    """

    markers = (BEGIN, END)

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output, tools)
        self._raw = ""
        self._separator = "{"
        self._properties: Mapping[str, Any] = {}
        self._types: frozenset[str] = frozenset()

    def finish(self) -> None:
        """A call that was cut off keeps its text so far; without a name it is content."""
        if self._step == self._string:
            self._output.arguments(_escape(self._text))
        elif self._step in (self._outside, self._function, self._name):
            self._output.content(self._raw + self._text)

    def _start(self) -> bool:
        self._step = self._outside
        return True

    def _outside(self) -> bool:
        """Look for a call; models forget the outer tag."""
        before, marker, self._text = split_at(self._text, BEGIN, FUNCTION)
        self._output.content(before)
        if marker is None:
            return False
        self._raw = marker
        self._step = self._function if marker == BEGIN else self._name
        return True

    def _function(self) -> bool:
        text = self._text.lstrip()
        if text != FUNCTION and FUNCTION.startswith(text):
            return False
        if not text.startswith(FUNCTION):
            return self._give_up()
        text = text.removeprefix(FUNCTION)
        self._raw += self._text[: len(self._text) - len(text)]
        self._text = text
        self._step = self._name
        return True

    def _name(self) -> bool:
        name, bracket, rest = self._text.partition(">")
        if len(name) > MAX_NAME_LENGTH or "\n" in name or "<" in name or (bracket and not name):
            return self._give_up()
        if not bracket:
            return False
        self._output.start_call(name)
        self._raw = ""
        self._properties = _find_properties(self._tools, name)
        self._separator = "{"
        self._text = rest
        self._step = self._body
        return True

    def _give_up(self) -> bool:
        self._output.content(self._raw)
        self._raw = ""
        self._step = self._outside
        return True

    def _body(self) -> bool:
        """Between the parameters; other text is content."""
        before, marker, self._text = split_at(self._text, PARAMETER, FUNCTION_END, END)
        self._output.content(before)
        if marker is None:
            return False
        if marker == PARAMETER:
            self._step = self._key
            return True
        self._output.arguments("{}" if self._separator == "{" else "}")
        self._step = self._after_call if marker == FUNCTION_END else self._outside
        return True

    def _key(self) -> bool:
        key, bracket, rest = self._text.partition(">")
        if not bracket:
            return False
        self._output.arguments(f"{self._separator}{json.dumps(key, ensure_ascii=False)}: ")
        self._separator = ", "
        self._types = _find_types(self._properties.get(key))
        self._text = rest
        self._step = self._before_value
        return True

    def _before_value(self) -> bool:
        self._text = self._text.removeprefix("\n")
        if self._types <= {"string"}:
            self._output.arguments('"')
            self._step = self._string
        else:
            self._step = self._value
        return True

    def _string(self) -> bool:
        before, marker, rest = split_at(self._text, f"\n{PARAMETER_END}", PARAMETER_END)
        self._output.arguments(_escape(before))
        self._text = rest
        if marker is None:
            return False
        self._output.arguments('"')
        self._step = self._body
        return True

    def _value(self) -> bool:
        value, marker, rest = self._text.partition(PARAMETER_END)
        if not marker:
            return False
        self._output.arguments(_to_json(value.removesuffix("\n"), self._types))
        self._text = rest
        self._step = self._body
        return True

    def _after_call(self) -> bool:
        text = self._text.lstrip()
        if text != END and END.startswith(text):
            return False
        self._text = text.removeprefix(END)
        self._step = self._outside
        return True


def _escape(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _find_properties(tools: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    for tool in tools:
        function = tool["function"]
        if function["name"] == name:
            properties = (function.get("parameters") or {}).get("properties")
            return properties if isinstance(properties, dict) else {}
    return {}


def _find_types(schema: object) -> frozenset[str]:
    """The JSON types that a schema allows; empty if it does not say."""
    if not isinstance(schema, dict):
        return frozenset()
    types: set[str] = set()
    for alternative in (schema, *_list(schema.get("anyOf")), *_list(schema.get("oneOf"))):
        found = alternative.get("type") if isinstance(alternative, dict) else None
        types.update(kind for kind in (found, *_list(found)) if isinstance(kind, str))
    return frozenset(types)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _to_json(text: str, types: frozenset[str]) -> str:
    value = text.strip()
    literal = LITERALS.get(value.lower())
    if "string" in types and literal != "null":
        return json.dumps(text, ensure_ascii=False)
    if literal is not None:
        return literal
    return read_json(value) or json.dumps(text, ensure_ascii=False)


class Qwen3Coder(ModelFamily):
    """Tool parser of Qwen 3 Coder: <function=name><parameter=key>value, in <tool_call> tags."""

    tool_parser = Qwen3CoderToolParser
    template_marks = (("<parameter=", "<function="),)
