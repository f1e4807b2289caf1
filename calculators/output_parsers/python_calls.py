"""Tool calls that are written as calls in Python: name(key="value", other=[1, 2])."""

import json
import re

from calculators.output_parsers.block_tool_parser import Call
from calculators.output_parsers.literal_reader import LiteralReader
from calculators.output_parsers.output_parser import ArgumentFrame, CallFrame

__all__ = ["BracketScanner", "python_frame", "read_python_calls"]

# OpenAI's names have at most 64 characters.
_NAME = re.compile(r"[\w.-]{1,300}")

_BRACKETS = re.compile(r"""["'()\[\]{}]""")
_STRING_ENDS = {quote: re.compile(rf"\\|{quote}") for quote in "\"'"}


class BracketScanner:
    """Finds where the first bracket of a text that comes in pieces is closed again."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._is_escaped = False
        self.is_complete = False

    def feed(self, text: str) -> int:
        """Read on; return the place behind the last bracket, or the length of the text."""
        position = 0
        while position < len(text) and not self.is_complete:
            if self._is_escaped:
                self._is_escaped = False
                position += 1
                continue
            pattern = _STRING_ENDS[self._quote] if self._quote else _BRACKETS
            found = pattern.search(text, position)
            if found is None:
                return len(text)
            position = found.end()
            self._take(found.group())
        return position

    def _take(self, character: str) -> None:
        if character == "\\":
            self._is_escaped = True
        elif character in "\"'":
            self._quote = "" if self._quote else character
        else:
            self._depth += 1 if character in "([{" else -1
            self.is_complete = self._depth <= 0


def python_frame(begin: str, between: str, end: str) -> CallFrame:
    """The frame of such calls; values in JSON are read, too."""
    return CallFrame(
        begin=begin,
        before_name="",
        before_arguments="(",
        after_arguments=")",
        between=between,
        end=end,
        argument=ArgumentFrame(before_key="", before_value="=", between=", "),
    )


def read_python_calls(text: str) -> list[Call]:
    """Read calls with or without brackets around them, or JSON objects with name and arguments.

    Names may have hyphens and be keywords of Python. Raises ValueError for any other text.
    """
    try:
        return _read_calls(LiteralReader(text))
    except ValueError:
        return _read_calls(LiteralReader(text, is_lenient=True))


def _read_calls(reader: LiteralReader) -> list[Call]:
    is_list = reader.take("[")
    calls = []
    while not (reader.is_at_end() or (is_list and reader.take("]"))):
        calls.append(_read_call(reader))
        if not reader.take(","):
            reader.take(";")
    if not calls or not reader.is_at_end():
        reader.fail()
    return calls


def _read_call(reader: LiteralReader) -> Call:
    if reader.take("{"):
        members = reader.members()
        name, arguments = members.get("name"), members.get("arguments")
        if not (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(arguments, dict)):
            raise ValueError("no call")
    else:
        name = reader.match(_NAME)
        if name is None:
            reader.fail()
        arguments = _read_arguments(reader)
    return Call(name, json.dumps(arguments, ensure_ascii=False))


def _read_arguments(reader: LiteralReader) -> dict[str, object]:
    arguments = {}
    reader.expect("(")
    while not reader.take(")"):
        key = reader.string() or reader.match(_NAME)
        if key is None:
            reader.fail()
        reader.expect("=")
        arguments[key] = reader.value()
        if not reader.take(","):
            reader.expect(")")
            break
    return arguments
