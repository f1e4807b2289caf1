"""Families that write calls in Python: Llama 4, some of Llama 3.2, and Olmo 3."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from calculators.output_parsers.block_tool_parser import BlockToolParser, Call
from calculators.output_parsers.families.qwen3 import Qwen3ReasoningParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.parsed_output import ParsedOutput
from calculators.output_parsers.python_calls import (
    BracketScanner,
    python_frame,
    read_python_calls,
)

__all__ = ["Olmo3", "Pythonic"]

_BARE_CALL = re.compile(r"\s*\[\s*[\w.-]+\s*\(")
_BARE_BEGINNING = re.compile(r"\s*\[\s*[\w.-]*\s*")
MAX_BEGINNING = 300


class PythonicToolParser(BlockToolParser):
    """Reads [name(key="value")], in tags or at the beginning of the text."""

    begin = "<|python_start|>"
    end = "<|python_end|>"
    markers = (begin, end)
    frame = python_frame(f"{begin}[", ", ", f"]{end}")

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output, tools)
        self._scanner = BracketScanner()

    def read_calls(self, text: str) -> list[Call]:
        """Read the calls; raises ValueError for any other text."""
        return read_python_calls(text)

    def finish(self) -> None:
        """At the end of the answer, brackets may be missing."""
        if self._step == self._bare:
            self._emit("", "")
        super().finish()

    def _start(self) -> bool:
        text = self._text.lstrip()
        if text != self.begin and self.begin.startswith(text):
            return False
        if _BARE_CALL.match(self._text):
            self._scanner = BracketScanner()
            self._step = self._bare
            return True
        if len(text) <= MAX_BEGINNING and _BARE_BEGINNING.fullmatch(self._text):
            return False
        return super()._start()

    def _bare(self) -> bool:
        end = self._scanner.feed(self._text)
        self._collected.append(self._text[:end])
        self._text = self._text[end:]
        if self._scanner.is_complete:
            self._emit("", "")
            self._step = self._start
        return True


class Pythonic(ModelFamily):
    """Tool parser of Llama 4 and some of Llama 3.2: [name(key="value")], a list in Python."""

    tool_parser = PythonicToolParser
    template_marks = (("<|python_start|>",), ("func_name1(params_name1",))
    aliases = ("llama4_pythonic",)


class Olmo3ToolParser(BlockToolParser):
    """Calls on lines of their own."""

    begin = "<function_calls>"
    end = "</function_calls>"
    markers = (begin, end)
    frame = python_frame(f"{begin}\n", "\n", f"\n{end}")

    def read_calls(self, text: str) -> list[Call]:
        """Read the calls; raises ValueError for any other text."""
        return read_python_calls(text)


class Olmo3(ModelFamily):
    """Tool and reasoning parser of Olmo 3: Python calls in <function_calls>, <think> tags."""

    tool_parser = Olmo3ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<function_calls>",),)
    reasoning_marks = ("<think>", "</think>")
