"""Gemma 4: <|tool_call>call:name{key:<|"|>text<|"|>,number:1}<tool_call|>, and thoughts."""

import json
import re
from collections.abc import Iterator

from calculators.output_parsers.block_tool_parser import BlockToolParser, Call
from calculators.output_parsers.json_call_reader import read_json_object
from calculators.output_parsers.json_scanner import read_json
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser

__all__ = ["Gemma4", "Gemma4ReasoningParser", "Gemma4ToolParser"]

QUOTE = '<|"|>'

_CALL = re.compile(r"\s*call:([\w.-]+)(\{.*\})\s*", re.DOTALL)
_TOKEN = re.compile(
    r'<\|"\|>(?P<string>.*?)<\|"\|>|(?P<mark>[{}\[\],:])|(?P<bare>[^{}\[\],:\s][^{}\[\],:]*)|\s+',
    re.DOTALL,
)


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

    def read_calls(self, text: str) -> list[Call]:
        """Read the call; raises ValueError for any other text."""
        found = _CALL.fullmatch(text)
        if found is None:
            raise ValueError("no call")
        arguments = read_json_object("".join(_to_json(found.group(2))))
        if arguments is None:
            raise ValueError("no object")
        return [Call(found.group(1), arguments)]


def _to_json(text: str) -> Iterator[str]:
    """The tokens of an object as JSON writes them."""
    for found in _TOKEN.finditer(text):
        if found["string"] is not None:
            yield json.dumps(found["string"], ensure_ascii=False)
        elif found["mark"] is not None:
            yield found["mark"]
        elif found["bare"] is not None:
            bare = found["bare"].strip()
            if QUOTE in bare:
                raise ValueError("a string without an end")
            is_key = text.startswith(":", found.end())
            is_value = not is_key and read_json(bare) is not None
            yield bare if is_value else json.dumps(bare, ensure_ascii=False)


class Gemma4(ModelFamily):
    """Tool and reasoning parser of Gemma 4: <|tool_call>call:name{...}, thoughts in a channel."""

    tool_parser = Gemma4ToolParser
    reasoning_parser = Gemma4ReasoningParser
    template_marks = (("<|tool_call>call:",),)
