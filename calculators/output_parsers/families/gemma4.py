"""Gemma 4: <|tool_call>call:name{key:<|"|>text<|"|>,number:1}<tool_call|>, and thoughts."""

import json
import re

from calculators.output_parsers.block_tool_parser import BlockToolParser, Call
from calculators.output_parsers.json_scanner import JsonScanner
from calculators.output_parsers.literal_reader import LiteralReader
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import ArgumentFrame, CallFrame
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser

__all__ = ["Gemma4", "Gemma4ReasoningParser", "Gemma4ToolParser"]

QUOTE = '<|"|>'

_END = re.compile(r"\s*[,\]}]")
_NAME = re.compile(r"[\w.-]+")
_QUOTED = re.compile(r'<\|"\|>(.*?)<\|"\|>', re.DOTALL)
_KEY = re.compile(r"[^\s{}\[\],:\"'<][^{}\[\],:\"'<]*")
# A comma in a bare text ends it only if a key follows.
_BARE_MEMBER = re.compile(r"""(?:[^{}\[\],<]|<(?!\|"\|>)|,(?!\s*(?:<\|"\|>|["']|[\w.-]+\s*:)))+""")
_BARE_ITEM = re.compile(r"""(?:[^{}\[\],<]|<(?!\|"\|>))+""")


class Gemma4ReasoningParser(TaggedReasoningParser):
    """Reasoning is a channel of its own."""

    begin = "<|channel>thought\n"
    end = "<channel|>"
    markers = ("<|channel>", end)


class Gemma4ToolParser(BlockToolParser):
    """Reads objects whose keys are bare and whose strings are between special tokens."""

    begin = "<|tool_call>"
    end = "<tool_call|>"
    markers = (begin, end, QUOTE)
    frame = CallFrame(
        before_name=f"{begin}call:",
        before_arguments="{",
        after_arguments=f"}}{end}",
        argument=ArgumentFrame(
            before_key="",
            before_value=":",
            before_string=f":{QUOTE}",
            after_string=QUOTE,
            between=",",
        ),
    )

    def read_calls(self, text: str) -> list[Call]:
        """Read the calls; raises ValueError for any other text."""
        reader = _Reader(text, is_lenient=True)
        calls: list[Call] = []
        while not calls or not reader.is_at_end():
            reader.expect("call:")
            name = reader.match(_NAME)
            if name is None:
                reader.fail()
            reader.expect("{")
            arguments = json.dumps(reader.members(), ensure_ascii=False, separators=(",", ":"))
            calls.append(Call(name, arguments))
            reader.take(",")
        return calls


class _Reader(LiteralReader):
    """Keys and strings need no quotes."""

    _bare = _BARE_MEMBER

    def value(self, depth: int = 0) -> object:
        self.take("")
        scanner = JsonScanner()
        if depth == 1 and self.text.startswith(("{", "[", '"'), self.position):
            end = scanner.feed(self.text, self.position)
            if scanner.is_complete and _END.match(self.text, end):
                self.position = end
                return json.loads(scanner.text)
        return super().value(depth)

    def members(self, depth: int = 0) -> dict[str, object]:
        outer, self._bare = self._bare, _BARE_MEMBER
        members = super().members(depth)
        self._bare = outer
        return members

    def items(self, closing: str, depth: int) -> tuple[list[object], bool]:
        outer, self._bare = self._bare, _BARE_ITEM
        items = super().items(closing, depth)
        self._bare = outer
        return items

    def key(self) -> str:
        self.take("")
        text = self.string()
        if text is None:
            text = (self.match(_KEY) or self.fail()).rstrip()
        return text

    def string(self) -> str | None:
        quoted = self.match(_QUOTED)
        if quoted is not None:
            return quoted.removeprefix(QUOTE).removesuffix(QUOTE)
        position = self.position
        try:
            return super().string()
        except ValueError:
            # An apostrophe at the beginning of a bare text.
            self.position = position
            return None

    def scalar(self) -> object:
        bare = (self.match(self._bare) or "").strip()
        if not bare:
            self.fail()
        reader = LiteralReader(bare)
        try:
            value = reader.scalar()
        except ValueError:
            return bare
        return value if reader.is_at_end() else bare


class Gemma4(ModelFamily):
    """Tool and reasoning parser of Gemma 4: <|tool_call>call:name{...}, thoughts in a channel."""

    tool_parser = Gemma4ToolParser
    reasoning_parser = Gemma4ReasoningParser
    template_marks = (("<|tool_call>call:",),)
